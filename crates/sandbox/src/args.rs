//! The command line in a request, split into arguments as a POSIX shell would, without any of a shell's powers.

/// The command line has a quote that is never closed, or ends in a backslash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} that opens at character {at} of the arguments is never closed")]
pub struct SplitArgsError {
    /// What was left open.
    what: &'static str,
    /// Its place, counted in characters from 1.
    at: usize,
}

/// Splits at white space outside quotes.
///
/// `'…'` is taken as it stands; in `"…"` a backslash escapes `"` and `\` only; outside quotes it escapes any character.
/// `""` is an empty argument. No variables, globs or substitutions: a `$` is a `$`.
///
/// # Errors
/// An unclosed quote or a trailing backslash, with its place.
pub fn split_args(line: &str) -> Result<Vec<String>, SplitArgsError> {
    let mut done = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars().zip(1..).peekable();
    while let Some((c, at)) = rest.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some(('\'', _)) => break,
                        Some((c, _)) => word.push(c),
                        None => return Err(SplitArgsError { what: "a ' quote", at }),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some(('"', _)) => break,
                        Some(('\\', _)) if matches!(rest.peek(), Some(('"' | '\\', _))) => {
                            word.extend(rest.next().map(|(c, _)| c));
                        }
                        Some((c, _)) => word.push(c),
                        None => return Err(SplitArgsError { what: "a \" quote", at }),
                    }
                }
            }
            '\\' => match rest.next() {
                Some((c, _)) => word.get_or_insert_default().push(c),
                None => return Err(SplitArgsError { what: "an escape \\", at }),
            },
            c if c.is_whitespace() => done.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    done.extend(word);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(line: &str, want: &Expect) {
        match split_args(line) {
            Ok(args) => want.assert_eq(&format!("{args:?}")),
            Err(error) => want.assert_eq(&error.to_string()),
        }
    }

    #[test]
    fn words_quotes_and_escapes() {
        check("", &expect!["[]"]);
        check("  a\tb\n ", &expect![[r#"["a", "b"]"#]]);
        check(
            r#"--name "Ada Lovelace" 'it is' x"#,
            &expect![[r#"["--name", "Ada Lovelace", "it is", "x"]"#]],
        );
        check(r#"a"b c"'d e'f"#, &expect![[r#"["ab cd ef"]"#]]);
        check(r#""" '' "\"\\\n""#, &expect![[r#"["", "", "\"\\\\n"]"#]]);
        check(r"a\ b \'c", &expect![[r#"["a b", "'c"]"#]]);
        check("naïve «日本語» $HOME *", &expect![[r#"["naïve", "«日本語»", "$HOME", "*"]"#]]);
    }

    #[test]
    fn what_is_left_open_is_told_with_its_place() {
        check(
            "one 'two",
            &expect!["a ' quote that opens at character 5 of the arguments is never closed"],
        );
        check(
            "é \"",
            &expect![[r#"a " quote that opens at character 3 of the arguments is never closed"#]],
        );
        check(
            "x\\",
            &expect![[r"an escape \ that opens at character 2 of the arguments is never closed"]],
        );
    }

    proptest! {
        #[test]
        fn quoted_arguments_come_back_as_they_were(args in proptest::collection::vec("\\PC*", 0..6)) {
            let line = args
                .iter()
                .map(|arg| format!("'{}'", arg.replace('\'', r"'\''")))
                .collect::<Vec<_>>()
                .join(" ");
            prop_assert_eq!(split_args(&line).unwrap(), args);
        }

        #[test]
        fn no_text_panics(line in "\\PC*") {
            let _ = split_args(&line);
        }
    }
}
