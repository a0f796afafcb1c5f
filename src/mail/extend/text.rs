//! The text in its forms.

use std::fmt::Write;

/// A text of at least one line.
pub struct Text {
    lines: Vec<String>,
}

impl Text {
    /// From a file; None where it is blank.
    pub fn new(text: &str) -> Option<Text> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_string()).collect();
        (!text.is_empty()).then_some(Text { lines })
    }

    /// Below a text that ends with a line end. `flowed`: as RFC 3676 section 4.4 wants lines that begin
    /// with a blank, a quote mark or `From `.
    pub fn plain(&self, flowed: bool) -> String {
        let mut out = "\r\n".to_string();
        for line in &self.lines {
            let stuffed = flowed && [" ", ">", "From "].iter().any(|it| line.starts_with(it));
            out.push_str(if stuffed { " " } else { "" });
            out.push_str(line);
            out.push_str("\r\n");
        }
        out
    }

    /// As a block of HTML in ASCII, which every charset has a place for.
    pub fn html(&self) -> String {
        let mut out = "\r\n<div><br>\r\n".to_string();
        for (at, line) in self.lines.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { "<br>\r\n" });
            for char in line.chars() {
                match char {
                    '<' | '>' | '&' | '"' => push_reference(&mut out, char),
                    char if !char.is_ascii() => push_reference(&mut out, char),
                    char => out.push(char),
                }
            }
        }
        out + "\r\n</div>\r\n"
    }
}

fn push_reference(out: &mut String, char: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "&#{};", u32::from(char));
}
