//! Reads os-release(5): shell-like assignments, one a line, never executed.

use crate::adapters::remote::harmless;

/// The fields that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OsRelease {
    /// `ID`; `linux` where there is none, as the format says.
    pub(super) id: String,
    /// `ID_LIKE`, closest relative first.
    pub(super) id_like: Vec<String>,
    /// `PRETTY_NAME`.
    pretty_name: Option<String>,
    /// `NAME`.
    plain_name: Option<String>,
    /// `VERSION_ID`; a rolling release has none.
    pub(super) version_id: Option<String>,
    /// `VERSION_CODENAME`.
    pub(super) codename: Option<String>,
    /// `UBUNTU_CODENAME` and `DEBIAN_CODENAME`: the release that a derivative is made of.
    base_codenames: Vec<String>,
}

impl OsRelease {
    /// Reads the lines of a file; of a key that is there twice the last one counts, as it would in a shell.
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut release = Self { id: "linux".to_owned(), ..Self::default() };
        for line in lines {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = harmless(&unquote(value));
            match key {
                "ID" if !value.is_empty() => release.id = value,
                "ID_LIKE" => release.id_like = value.split_whitespace().map(str::to_owned).collect(),
                "PRETTY_NAME" if !value.is_empty() => release.pretty_name = Some(value),
                "NAME" if !value.is_empty() => release.plain_name = Some(value),
                "VERSION_ID" if !value.is_empty() => release.version_id = Some(value),
                "VERSION_CODENAME" if !value.is_empty() => release.codename = Some(value),
                "UBUNTU_CODENAME" | "DEBIAN_CODENAME" if !value.is_empty() => release.base_codenames.push(value),
                _ => {}
            }
        }
        release
    }

    /// Returns the codenames of the release that runs: its own, and those of what it is made of.
    pub(super) fn codenames(&self) -> impl Iterator<Item = &str> {
        self.codename.iter().chain(&self.base_codenames).map(String::as_str)
    }

    /// Returns the name to show.
    pub(super) fn name(&self) -> String {
        self.pretty_name.clone().or_else(|| self.plain_name.clone()).unwrap_or_else(|| self.id.clone())
    }
}

/// Takes a shell's quotes off a value: in single quotes all is literal, in double quotes and outside of quotes a
/// backslash escapes.
fn unquote(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut quote: Option<char> = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', Some('"')) => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => text.push(escaped),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            ('\\', None) => text.extend(chars.next()),
            (c, None) if c.is_whitespace() => break,
            (c, _) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> OsRelease {
        OsRelease::parse(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn quotes_and_escapes_are_read_as_a_shell_would() {
        assert_eq!(unquote("plain"), "plain");
        assert_eq!(unquote("\"two words\""), "two words");
        assert_eq!(unquote("'two words'"), "two words");
        assert_eq!(unquote(r#""a \"b\" \$c \\ \x""#), r#"a "b" $c \ \x"#);
        assert_eq!(unquote(r"'a \ b'"), r"a \ b");
        assert_eq!(unquote(r"a\ b"), "a b");
        assert_eq!(unquote(r#"a"b"'c'"#), "abc");
        assert_eq!(unquote("x # comment"), "x");
        assert_eq!(unquote("\"open"), "open");
    }

    #[test]
    fn a_file_is_read() {
        let text = "# comment\n\nPRETTY_NAME=\"Mint 22\"\nNAME=Mint\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nnonsense\nHOME_URL=\"https://x/?a=b\"\n";
        let release = parse(text);
        assert_eq!(release.id, "linuxmint");
        assert_eq!(release.id_like, ["ubuntu", "debian"]);
        assert_eq!(release.name(), "Mint 22");
    }

    #[test]
    fn what_is_missing_has_a_default() {
        assert_eq!(parse("").id, "linux");
        assert_eq!(parse("ID=void").name(), "void");
        assert_eq!(parse("NAME='Void Linux'\nID=void").name(), "Void Linux");
        assert_eq!(parse("ID=a\nID=b").id, "b");
        assert_eq!(parse("PRETTY_NAME=\"\u{1b}[31mred\"").name(), "red");
    }
}
