//! Text that does nothing but stand there. Names come from outside: a key at the provider, a repository, a line of a
//! program. On a terminal, in a log or in a mail they must not move a cursor, set a title, turn the direction of what follows,
//! hide, or begin a line of their own.
//!
//! It is applied where text leaves, not where it comes in: names are compared as they are.

use std::borrow::Cow;

/// One line: every sign that does something is shown as what it is, `\u{1b}`; line breaks and tabs too.
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, &|c| acts(c), &|c| c.escape_unicode().to_string())
}

/// Several lines: line breaks and tabs may stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, &|c| acts(c) && !matches!(c, '\n' | '\t'), &|c| c.escape_unicode().to_string())
}

/// JSON as a writer made it: these signs stand in its texts only, and its own escape for them means the same.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(text, &|c| acts(c) && !matches!(c, '\n' | '\t'), &|c| {
        let mut units = [0; 2];
        let units = c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}"));
        units.collect::<Vec<_>>().concat()
    })
}

/// Control characters, marks of direction, what has no width, separators of lines, tags, and what no font has.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn replaced<'t>(
    text: &'t str,
    is_one: &dyn Fn(char) -> bool,
    shown: &dyn Fn(char) -> String,
) -> Cow<'t, str> {
    if !text.contains(is_one) {
        return Cow::Borrowed(text);
    }
    let one = |c: char| if is_one(c) { shown(c) } else { c.to_string() };
    Cow::Owned(text.chars().map(one).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_is_shown_as_what_it_is() {
        assert_eq!(line("a\u{1b}]0;x\u{7}\r\nb"), "a\\u{1b}]0;x\\u{7}\\u{d}\\u{a}b");
        assert_eq!(lines("a\n\tb\rc"), "a\n\tb\\u{d}c");
        assert_eq!(line("x\u{202e}y\u{200b}\u{9b}"), "x\\u{202e}y\\u{200b}\\u{9b}");
        assert!(matches!(line("Zoë's key – プロ 🔑"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn json_stays_what_it_is(text in any::<String>()) {
            let written = serde_json::to_string_pretty(&[&text]).unwrap();
            let plain = json(&written);
            prop_assert!(!plain.contains(|c: char| c != '\n' && acts(c)));
            let [again]: [String; 1] = serde_json::from_str(&plain).unwrap();
            prop_assert_eq!(again, text);
        }
    }
}
