//! What others say, in a form that begins no line of its own, steers no terminal, and is read in the
//! order that it has.

/// `text` on one line, and no more of it than `longest` characters.
pub fn line(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(letter).collect()
}

/// `letter`, or what stands for one that does harm.
pub fn letter(letter: char) -> char {
    match letter {
        _ if letter.is_control() => ' ',
        _ if is_hidden(letter) => char::REPLACEMENT_CHARACTER,
        _ => letter,
    }
}

/// Whether it breaks lines, moves cursors, or is not seen where it stands: the controls, and what
/// Unicode has to join letters and to turn the direction of writing.
pub fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(letter, '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_stays_on_its_line_and_in_its_order() {
        assert_eq!(line("a\r\nb\u{1b}[2J\u{9b}c", 100), "a  b [2J c");
        assert_eq!(line("ab\u{202E}dc\u{61C}", 100), "ab\u{FFFD}dc\u{FFFD}");
        assert_eq!(line("größer", 3), "grö");
    }
}
