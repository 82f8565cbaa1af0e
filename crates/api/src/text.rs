//! Cutting texts to what fits: events, termination messages and status fields have room for so much and no more.

/// What stands where something was cut off.
const MARK: char = '…';

/// Cuts a text to at most `most` bytes, between two characters and with a mark at its end; says whether it was longer.
pub fn cut(text: &mut String, most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    let room = most.checked_sub(MARK.len_utf8());
    text.truncate(text.floor_char_boundary(room.unwrap_or(0)));
    text.extend(room.map(|_| MARK));
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cut;

    #[test]
    fn a_text_is_cut_between_characters_and_marked() {
        for (text, most, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "lo…"),
            ("éééé", 7, "éé…"),
            ("😀😀", 7, "😀…"),
            ("😀", 3, "…"),
            ("long", 2, ""),
            ("", 0, ""),
        ] {
            let mut short = text.to_owned();
            assert_eq!((cut(&mut short, most), short.as_str()), (text != expected, expected), "{text} {most}");
        }
    }

    proptest! {
        #[test]
        fn what_was_cut_fits_and_is_not_cut_again(text in ".{0,40}", most in 0..100_usize) {
            let mut short = text;
            cut(&mut short, most);
            prop_assert!(short.len() <= most);
            prop_assert!(!cut(&mut short, most));
        }
    }
}
