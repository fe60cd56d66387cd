//! Questions to people.

use std::io::{self, BufRead, Write};

/// How often an answer that is none is asked for again.
const ATTEMPTS: usize = 3;

/// Asks until `y` or `n` is the answer; anything else three times is a no, as is the end of the input.
///
/// # Errors
/// The answer cannot be read.
pub(super) fn confirm(question: &str, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<bool> {
    for _ in 0..ATTEMPTS {
        write!(output, "{question} [y/n]: ")?;
        output.flush()?;
        let mut answer = String::new();
        if input.read_line(&mut answer)? == 0 {
            writeln!(output)?;
            return Ok(false);
        }
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => writeln!(output, "Invalid input.")?,
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn asked(answers: &str) -> (bool, String) {
        let mut output = Vec::new();
        let answer = confirm("Sure?", &mut answers.as_bytes(), &mut output).unwrap();
        (answer, String::from_utf8(output).unwrap())
    }

    #[test]
    fn only_yes_is_yes() {
        assert_eq!(asked("y\n"), (true, "Sure? [y/n]: ".to_owned()));
        assert!(!asked("n\n").0);
        assert!(!asked("").0, "the end of the input is no consent");
    }

    #[test]
    fn three_answers_that_are_none_are_a_no() {
        let (answer, said) = asked("what\n\nperhaps\ny\n");
        assert!(!answer);
        assert_eq!(said.matches("Invalid input.").count(), 3);
    }
}
