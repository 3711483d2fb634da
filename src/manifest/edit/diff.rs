//! The difference between two texts of a manifest, as it may be shown.

use similar::TextDiff;

use super::super::load::showable;

/// How many lines are shown around a change.
const CONTEXT: usize = 3;

/// Returns the difference in the unified format, or nothing where there is none. `name` is how the file is called in it.
///
/// Values that look secret are blotted out first, so a change of nothing but a password shows as no difference. Of line
/// breaks only the presence is compared, and control characters are made visible.
pub fn unified(name: &str, old: &str, new: &str) -> String {
    let (old, new) = (plain(old), plain(new));
    let diff = TextDiff::from_lines(&old, &new);
    diff.unified_diff()
        .context_radius(CONTEXT)
        .header(&format!("{name} (before)"), &format!("{name} (after)"))
        .to_string()
}

fn plain(text: &str) -> String {
    let text = text.strip_prefix(super::MARK).unwrap_or(text);
    let harmless = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    showable(text).replace("\r\n", "\n").chars().map(harmless).collect()
}
