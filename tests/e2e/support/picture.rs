//! A terminal's picture, and the prompt in it.

/// How many lines that were scrolled away are kept.
const SCROLLBACK: usize = 10_000;

/// Marks of choices: where the cursor is, where it is not, with a tick, without.
const MARKS: [char; 4] = ['●', '○', '◼', '◻'];

/// The screen and what was scrolled away.
pub struct Picture(vt100::Parser);

/// A question that waits for an answer.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Its first row, counted from the first line that was ever shown: no two questions have the same.
    pub row: usize,
    /// What is asked, and in the last line what is typed or a placeholder (where something can be typed).
    pub question: String,
    /// The choices in sight.
    pub items: Vec<Item>,
    /// What is said below it: what is wrong with the answer, mostly.
    pub message: String,
    /// Whether there are choices below those in sight.
    pub more_below: bool,
}

/// A choice.
#[derive(Debug, Clone)]
pub struct Item {
    pub row: usize,
    /// Its label, and its hint in brackets where it is the active one.
    pub text: String,
    pub active: bool,
    pub ticked: bool,
}

impl Prompt {
    /// Tells whether this is asked, a part of it at least; lines were broken to fit.
    pub fn asks(&self, question: &str) -> bool {
        self.question.replace('\n', " ").contains(question)
    }

    /// Tells whether this is what is typed by now.
    pub fn has_typed(&self, text: &str) -> bool {
        self.question.lines().count() > 1 && self.question.lines().last() == Some(text)
    }

    pub fn active(&self) -> Option<&Item> {
        self.items.iter().find(|item| item.active)
    }

    /// The choice with this label, or the only one that begins with these words.
    pub fn item(&self, label: &str) -> Option<&Item> {
        let exact = |item: &&Item| item.text == label || item.text.starts_with(&format!("{label} ("));
        if let Some(item) = self.items.iter().find(exact) {
            return Some(item);
        }
        let mut found = self.items.iter().filter(|item| item.text.starts_with(&format!("{label} ")));
        found.next().filter(|_| found.next().is_none())
    }
}

/// A line, which may go over several rows.
struct Line {
    row: u16,
    text: String,
}

impl Picture {
    pub fn new((columns, rows): (u16, u16)) -> Self {
        Self(vt100::Parser::new(rows, columns, SCROLLBACK))
    }

    pub fn draw(&mut self, bytes: &[u8]) {
        self.0.process(bytes);
    }

    /// What is on the screen; wrapped lines are joined.
    pub fn visible(&self) -> String {
        self.0.screen().contents()
    }

    /// What is on the screen and what was scrolled away.
    pub fn whole(&self) -> String {
        let mut screen = self.0.screen().clone();
        let mut text = String::new();
        for above in (1..=scrolled(&mut screen)).rev() {
            screen.set_scrollback(above);
            text.push_str(&screen.rows(0, screen.size().1).next().expect("a row"));
            if !screen.row_wrapped(0) {
                text.push('\n');
            }
        }
        text + &self.visible() + "\n"
    }

    /// What is on the screen, in a frame.
    pub fn framed(&self) -> String {
        let screen = self.0.screen();
        let columns = usize::from(screen.size().1);
        let rows: String = screen.rows(0, screen.size().1).map(|row| format!("|{row:columns$}|\n")).collect();
        let edge = "-".repeat(columns);
        format!("+{edge}+\n{rows}+{edge}+")
    }

    pub fn hides_cursor(&self) -> bool {
        self.0.screen().hide_cursor()
    }

    /// The prompt that waits for keys. It is the last thing on the screen, from its symbol over lines with a bar to its
    /// last line, with the cursor hidden below it. While it is drawn anew some of that is not so.
    pub fn prompt(&self) -> Option<Prompt> {
        let lines = self.lines();
        let end = lines.iter().rposition(|line| !line.text.is_empty())?;
        let head = lines[..end].iter().rposition(|line| !line.text.starts_with('│'))?;
        let question = lines[head].text.strip_prefix(['◆', '▲'])?;
        let message = lines[end].text.strip_prefix('└')?;
        let mut prompt = self.read(&lines[head..end], question, message);
        prompt.more_below = message.trim().starts_with("↑/↓") && self.is_lit(&lines[end], '↓');
        let drawn = self.0.screen().cursor_position() > (lines[end].row, u16::MAX);
        (drawn && self.hides_cursor()).then_some(prompt)
    }

    /// Tells whether the prompt that began in that row waits for no keys any more: something else stands at its beginning.
    pub fn is_over(&self, row: usize) -> bool {
        let mut screen = self.0.screen().clone();
        let above = scrolled(&mut screen);
        screen.set_scrollback(above.saturating_sub(row));
        let text = screen.rows(0, screen.size().1).nth(row.saturating_sub(above)).unwrap_or_default();
        !text.trim().is_empty() && !text.starts_with(['◆', '▲'])
    }

    fn read(&self, lines: &[Line], question: &str, message: &str) -> Prompt {
        let mut prompt = Prompt {
            row: scrolled(&mut self.0.screen().clone()) + usize::from(lines[0].row),
            question: question.trim().to_owned(),
            items: Vec::new(),
            message: message.trim().to_owned(),
            more_below: false,
        };
        for line in &lines[1..] {
            let text = line.text.trim_start_matches('│').trim();
            match Self::item(text, line.row) {
                Some(item) => prompt.items.push(item),
                None if prompt.items.is_empty() => prompt.question = format!("{}\n{text}", prompt.question),
                None => {}
            }
        }
        prompt
    }

    fn item(text: &str, row: u16) -> Option<Item> {
        let pointed = text.strip_prefix('❯').map(str::trim_start);
        let text = pointed.unwrap_or(text);
        let mark = text.chars().next().filter(|mark| MARKS.contains(mark))?;
        let label = text.trim_start_matches(mark).trim().to_owned();
        Some(Item {
            row: usize::from(row), text: label, active: mark == '●' || pointed.is_some(), ticked: mark == '◼'
        })
    }

    /// Tells whether a character of a line on the screen is not dimmed.
    fn is_lit(&self, line: &Line, wanted: char) -> bool {
        let column = line.text.chars().position(|c| c == wanted).and_then(|column| u16::try_from(column).ok());
        column.and_then(|column| self.0.screen().cell(line.row, column)).is_some_and(|cell| !cell.dim())
    }

    /// The lines of the screen, wrapped ones joined, without blanks at their ends.
    fn lines(&self) -> Vec<Line> {
        let screen = self.0.screen();
        let mut lines: Vec<Line> = Vec::new();
        let mut goes_on = false;
        for (row, text) in (0..).zip(screen.rows(0, screen.size().1)) {
            match lines.last_mut() {
                Some(last) if goes_on => last.text.push_str(&text),
                _ => lines.push(Line { row, text }),
            }
            goes_on = screen.row_wrapped(row);
        }
        for line in &mut lines {
            line.text.truncate(line.text.trim_end().len());
        }
        lines
    }
}

/// How many rows were scrolled away.
fn scrolled(screen: &mut vt100::Screen) -> usize {
    screen.set_scrollback(usize::MAX);
    screen.scrollback()
}
