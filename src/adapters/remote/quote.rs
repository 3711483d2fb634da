//! Quoting for POSIX shells.

/// Quotes a text so that a POSIX shell reads it as one word, whatever it holds.
///
/// Single quotes keep everything but the single quote itself, which is closed, escaped and opened again. A NUL byte
/// can't be in an argument at all and is left out.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("'\\''"),
            '\0' => {}
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["", "plain", "it's", "''", "a b\tc\nd", "$HOME `id` \\ \" * ? ; & | < > # !", "ünïcode →", "-n"]
        {
            let out = std::process::Command::new("/bin/sh")
                .arg("-c")
                .arg(format!("printf %s {}", quote(text)))
                .output()
                .expect("/bin/sh runs");
            assert_eq!(String::from_utf8_lossy(&out.stdout), text);
        }
    }

    #[test]
    fn quoting_twice_survives_two_shells() {
        let inner = format!("printf %s {}", quote("it's 'quoted' $twice"));
        let out = std::process::Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("/bin/sh -c {}", quote(&inner)))
            .output()
            .expect("/bin/sh runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "it's 'quoted' $twice");
    }

    #[test]
    fn a_nul_is_left_out() {
        assert_eq!(quote("a\0b"), "'ab'");
    }
}
