// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patterns of names.

/// Whether a pattern fits a name: in it `*` stands for anything, `?` for one character. Takes time in proportion to the product of their lengths at most.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // The last star, and how much of the name it stands for so far.
    let mut star = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match star {
                Some((star_at, until)) => {
                    star = Some((star_at, until + 1));
                    at = star_at + 1;
                    in_name = until + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", "a/b"),
            ("*", ""),
            ("a/*", "a/b/c"),
            ("a/*/c", "a/b/b/c"),
            ("*ab*ab", "abxababxab"),
            ("?:*", "o:x"),
            ("fedora/*/rawhide", "fedora/x86_64/rawhide"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "b"),
            ("a", "ab"),
            ("a/*", "a"),
            ("*/c", "a/b"),
            ("?", ""),
            ("", "a"),
            ("*a*b", "ba"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
