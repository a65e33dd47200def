//! Text that comes from outside, such as names of files and answers of AWS, as a terminal may show it. A terminal obeys
//! control characters, and characters that reorder or hide text show a person something else than is there.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use tracing_subscriber::fmt::MakeWriter;

/// Most characters of one name or text.
const LONGEST: usize = 1024;

/// A name or text on one line, of at most 1,024 characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    match shortened(text) {
        Cow::Owned(text) => Cow::Owned(escape(&text, |_| false).into_owned()),
        Cow::Borrowed(text) => escape(text, |_| false),
    }
}

/// The first 1,024 characters of a text.
pub fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Lines of output. Their styles stay, which are given as the terminal reads them; no text can bring others.
pub fn printable_lines(text: &str, styles: &[String]) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let style = styles.iter().find(|style| !style.is_empty() && rest[at..].starts_with(style.as_str()));
        let (end, kept) = style.map_or((at + 1, "\\u001b"), |style| (at + style.len(), style.as_str()));
        lines += &escape(&rest[..at], |c| c == '\n');
        lines += kept;
        rest = &rest[end..];
    }
    lines + &escape(rest, |c| c == '\n')
}

/// A log's writer whose every line stays one line. The escapes are JSON's, so that a line of JSON stays one as well.
pub struct LogLines<M>(pub M);

/// Writes one line with each call, as the log does.
pub struct LogLine<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for LogLines<M> {
    type Writer = LogLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for LogLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        self.0.write_all((escape(text, |_| false).into_owned() + end).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |c: char| !is_printable(c) && !is_kept(c);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to a String cannot fail");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Joiners of letters (U+200C and U+200D) are part of names in several scripts.
fn is_printable(c: char) -> bool {
    let reorders_or_hides = matches!(
        c,
        '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !reorders_or_hides
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn names_of_people_stay_legible_and_what_a_terminal_obeys_is_escaped() {
        for legible in [
            "a.wav",
            "Gespräch mit Zoë.wav",
            "通話-0001.wav",
            "שיחה.wav",
            "گفت\u{200c}گو",
            "👩\u{200d}💻.wav",
            "a\\b",
        ] {
            assert_eq!(printable(legible), legible);
        }
        for (raw, escaped) in [
            ("\x1b]0;title\x07a", "\\u001b]0;title\\u0007a"),
            ("\x1b[2Ja.wav", "\\u001b[2Ja.wav"),
            ("a\nerror: b", "a\\u000aerror: b"),
            ("a\rb\tc\x08\x7f", "a\\u000db\\u0009c\\u0008\\u007f"),
            ("\u{9b}31m", "\\u009b31m"),
            ("gpj.\u{202e}vaw", "gpj.\\u202evaw"),
            ("\u{2066}a\u{2069}\u{200f}", "\\u2066a\\u2069\\u200f"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(printable(raw), escaped);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(printable(&"é".repeat(1024)), "é".repeat(1024));
        assert_eq!(printable(&"é".repeat(1_000_000)), "é".repeat(1024) + "…");
    }

    #[test]
    fn our_own_styles_and_lines_stay_and_those_of_others_do_not() {
        let styles = ["\x1b[31m".to_owned(), "\x1b[0m".to_owned(), String::new()];
        let text = "\x1b[31merror:\x1b[0m a\x1b[8mb\x1b\nnext \u{202e}line\n";
        assert_eq!(
            printable_lines(text, &styles),
            "\x1b[31merror:\x1b[0m a\\u001b[8mb\\u001b\nnext \\u202eline\n"
        );
    }

    #[test]
    fn a_line_of_a_log_stays_one_line_and_json_stays_json() {
        let mut written = Vec::new();
        LogLine(&mut written).write_all("a\nb\x1b[2J ü\n".as_bytes()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "a\\u000ab\\u001b[2J ü\n");
        let event = serde_json::json!({"name": "\u{1b}[2J\u{9b}\u{202e}\u{e0041} 通話\n"});
        let mut written = Vec::new();
        LogLine(&mut written).write_all((event.to_string() + "\n").as_bytes()).unwrap();
        assert!(!String::from_utf8_lossy(&written).contains(['\u{9b}', '\u{202e}', '\u{e0041}']));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), event);
    }
}
