//! Goes through steps, forwards with each answer and back with Esc.

use crate::cli::terminal::{Answered, Left};

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Taken {
    /// Something was asked and answered: Esc behind it leads back to it.
    Asked,
    /// There was nothing to ask.
    Passed,
}

/// Takes the steps in their order; Esc leads back to the step that asked last.
///
/// # Errors
/// The first question was left by Esc, or the dialogue for good.
pub(super) fn walk<S: Copy>(steps: &[S], mut take: impl FnMut(S) -> Answered<Taken>) -> Answered<()> {
    let mut asked = Vec::new();
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        match take(*step) {
            Ok(Taken::Asked) => {
                asked.push(at);
                at += 1;
            }
            Ok(Taken::Passed) => at += 1,
            Err(Left::Back) => at = asked.pop().ok_or(Left::Back)?,
            Err(left) => return Err(left),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the steps 0 to 3, of which 1 asks nothing, with these answers; returns the steps in the order in which they were taken.
    fn taken(answers: &[Answered<()>]) -> (Vec<usize>, Answered<()>) {
        let (mut taken, mut answers) = (Vec::new(), answers.iter());
        let end = walk(&[0, 1, 2, 3], |step| {
            taken.push(step);
            match step {
                1 => Ok(Taken::Passed),
                _ => answers.next().cloned().unwrap_or(Ok(())).map(|()| Taken::Asked),
            }
        });
        (taken, end)
    }

    #[test]
    fn esc_leads_to_the_question_before_and_over_what_asks_nothing() {
        assert_eq!(taken(&[]), (vec![0, 1, 2, 3], Ok(())));
        assert_eq!(taken(&[Ok(()), Err(Left::Back)]), (vec![0, 1, 2, 0, 1, 2, 3], Ok(())));
        assert_eq!(taken(&[Ok(()), Ok(()), Err(Left::Back)]), (vec![0, 1, 2, 3, 2, 3], Ok(())));
    }

    #[test]
    fn esc_at_the_first_question_and_ctrl_c_at_any_end_it() {
        assert_eq!(taken(&[Err(Left::Back)]), (vec![0], Err(Left::Back)));
        assert_eq!(taken(&[Ok(()), Err(Left::Back), Err(Left::Back)]), (vec![0, 1, 2, 0], Err(Left::Back)));
        assert_eq!(taken(&[Ok(()), Err(Left::Quit)]), (vec![0, 1, 2], Err(Left::Quit)));
    }
}
