//! Source text without what is no code: comments, what is in quotes, and tests.

/// `source` with comments, strings and test modules blanked: every byte of code is where it was.
pub(super) fn blanked(source: &str) -> Vec<u8> {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => find(bytes, at, b"\n").unwrap_or(bytes.len()),
            [b'/', b'*', ..] => find(bytes, at + 2, b"*/").map_or(bytes.len(), |end| end + 2),
            [b'"', ..] => end_of_string(bytes, at + 1),
            // A character; anything else after the quote is a lifetime.
            [b'\'', b'\\', ..] => find(bytes, at + 3, b"'").map_or(bytes.len(), |end| end + 1),
            [b'\'', _, b'\'', ..] => at + 3,
            _ => {
                at += 1;
                continue;
            }
        };
        blank(&mut code[at..end]);
        at = end;
    }
    blank_tests(&mut code);
    code
}

fn blank(code: &mut [u8]) {
    for byte in code.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn blank_tests(code: &mut [u8]) {
    let mut at = 0;
    while let Some(start) = find(code, at, b"#[cfg(test)]") {
        // A module in a file of its own ends before the next brace.
        let brace = find(code, start, b"{").unwrap_or(code.len());
        let semicolon = find(code, start, b";").unwrap_or(code.len());
        let end = match brace < semicolon {
            true => closing(code, brace).unwrap_or(code.len()),
            false => semicolon,
        };
        blank(&mut code[start..end]);
        at = end;
    }
}

/// Where the bracket at `at` is closed.
pub(super) fn closing(code: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (n, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(n);
        }
    }
    None
}

/// Where the bracket that ends at `at` was opened.
pub(super) fn opening(code: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for n in (0..=at).rev() {
        match code[n] {
            b')' | b']' | b'}' => depth += 1,
            b'(' | b'[' | b'{' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(n);
        }
    }
    None
}

/// Where `text` occurs first from `start` on.
pub(super) fn find(bytes: &[u8], start: usize, text: &[u8]) -> Option<usize> {
    let rest = bytes.get(start..)?;
    let mut windows = rest.windows(text.len());
    windows.position(|window| window == text).map(|n| start + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left_and_stays_where_it_was() {
        let source = "a(\"b(\\\")\"); // c()\n/* d() */ e('(', 'x', '\\'');\n#[cfg(test)]\nmod tests { f(); }\ng::<'a>();\n";
        let code = String::from_utf8(blanked(source)).unwrap();
        assert_eq!(code.len(), source.len());
        let words: Vec<_> = code.split_whitespace().collect();
        assert_eq!(words, ["a(", ");", "e(", ",", ",", ");", "}", "g::<'a>();"]);
    }
}
