//! Reads and edits what Python's `configparser` reads (pip.conf, .pypirc): `[section]`, `key = value`, and
//! lines that go on because they stand further to the right. All other lines, their order and comments stay.

use std::ops::Range;

/// One option and the lines it takes.
struct Entry {
    section: String,
    key: String,
    indent: usize,
    lines: Range<usize>,
}

/// The lines of a file, and what stands where.
struct Layout<'a> {
    lines: Vec<&'a str>,
    /// Each header, and its line.
    sections: Vec<(String, usize)>,
    entries: Vec<Entry>,
}

/// The lines of a value, trimmed; the last of several options counts, as in pip, which takes `index_url`
/// for `index-url`: all spellings are given in `keys`.
pub(super) fn value<'a>(text: &'a str, section: &str, keys: &[&str]) -> Option<Vec<&'a str>> {
    let layout = Layout::read(text);
    let entry = layout.entries.iter().rev().find(|entry| entry.is(section, keys))?;
    let mut lines = layout.lines[entry.lines.clone()].iter().copied();
    let first = lines.next().and_then(split).map(|(_, value)| value);
    let rest = lines.filter(|line| !is_comment(line)).map(str::trim);
    Some(first.into_iter().chain(rest).filter(|line| !line.is_empty()).collect())
}

/// Whether there is a section of this name.
pub(super) fn has_section(text: &str, section: &str) -> bool {
    Layout::read(text).sections.iter().any(|(name, _)| name == section)
}

/// Sets an option; the first of `keys` is how it is written where it is new, the others are other spellings.
pub(super) fn set(text: &str, section: &str, keys: &[&str], value: &str) -> String {
    let layout = Layout::read(text);
    let mut lines: Vec<String> = layout.lines.iter().map(|&line| line.to_owned()).collect();
    let mut known = layout.entries.iter().filter(|entry| entry.is(section, keys));
    let Some(first) = known.next() else {
        layout.insert(&mut lines, section, format!("{} = {value}", keys[0]));
        return joined(&lines);
    };
    let name = split(layout.lines[first.lines.start]).map_or(keys[0], |(name, _)| name);
    let indent = &layout.lines[first.lines.start][..first.indent];
    let replaced = format!("{indent}{name} = {value}");
    let comments = |range: &Range<usize>| {
        let inside = layout.lines[range.clone()].iter().filter(|line| is_comment(line));
        inside.map(|&line| line.to_owned()).collect::<Vec<_>>()
    };
    // From the last to the first, so that the line numbers of those before stay right.
    let further: Vec<&Entry> = known.collect();
    for entry in further.into_iter().rev() {
        lines.splice(entry.lines.clone(), comments(&entry.lines));
    }
    let kept = comments(&first.lines);
    lines.splice(first.lines.clone(), std::iter::once(replaced).chain(kept));
    joined(&lines)
}

/// Adds a word to an option that holds a list of them, on a line of its own; nothing where it is there.
pub(super) fn add_word(text: &str, section: &str, key: &str, word: &str) -> String {
    let there = value(text, section, &[key]).unwrap_or_default();
    if there.iter().flat_map(|line| line.split_whitespace()).any(|there| there == word) {
        return text.to_owned();
    }
    let layout = Layout::read(text);
    let mut lines: Vec<String> = layout.lines.iter().map(|&line| line.to_owned()).collect();
    match layout.entries.iter().rev().find(|entry| entry.is(section, &[key])) {
        None => layout.insert(&mut lines, section, format!("{key} =\n    {word}")),
        Some(entry) => {
            let last = &layout.lines[entry.lines.end - 1];
            let indent = if entry.lines.len() > 1 {
                last[..indent_of(last)].to_owned()
            } else {
                format!("{}    ", &last[..entry.indent])
            };
            lines.insert(entry.lines.end, format!("{indent}{word}"));
        }
    }
    joined(&lines)
}

impl Entry {
    fn is(&self, section: &str, keys: &[&str]) -> bool {
        self.section == section && keys.contains(&self.key.as_str())
    }
}

impl<'a> Layout<'a> {
    fn read(text: &'a str) -> Self {
        let mut layout = Self { lines: text.lines().collect(), sections: Vec::new(), entries: Vec::new() };
        let mut indent = 0;
        let mut is_open = false;
        for (number, line) in layout.lines.iter().enumerate() {
            if line.trim().is_empty() || is_comment(line) {
                continue;
            }
            if is_open && indent_of(line) > indent {
                if let Some(entry) = layout.entries.last_mut() {
                    entry.lines.end = number + 1;
                }
                continue;
            }
            indent = indent_of(line);
            is_open = false;
            if let Some(name) = header(line) {
                layout.sections.push((name.to_owned(), number));
            } else if let (Some((name, _)), Some((section, _))) = (split(line), layout.sections.last()) {
                let (section, key) = (section.clone(), name.to_lowercase());
                layout.entries.push(Entry { section, key, indent, lines: number..number + 1 });
                is_open = true;
            }
        }
        layout
    }

    /// Puts an option behind the last of its section, or makes the section at the end.
    fn insert(&self, lines: &mut Vec<String>, section: &str, option: String) {
        let last = self.entries.iter().rev().find(|entry| entry.section == section);
        let header = self.sections.iter().find(|(name, _)| name == section);
        let (at, beside) = match (last, header) {
            (Some(last), _) => (last.lines.end, last.lines.start),
            (None, Some((_, header))) => (header + 1, *header),
            (None, None) => {
                if lines.last().is_some_and(|line| !line.trim().is_empty()) {
                    lines.push(String::new());
                }
                lines.push(format!("[{section}]"));
                return lines.push(option);
            }
        };
        // As far to the right as what stands before it, or it would go on with that, or what follows with it.
        let indent = &self.lines[beside][..indent_of(self.lines[beside])];
        let indented: Vec<String> = option.lines().map(|line| format!("{indent}{line}")).collect();
        lines.splice(at..at, indented);
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

fn header(line: &str) -> Option<&str> {
    let inside = line.trim().strip_prefix('[')?;
    inside.rfind(']').filter(|&end| end > 0).map(|end| &inside[..end])
}

fn split(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(['=', ':'])?;
    Some((name.trim(), value.trim())).filter(|(name, _)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &[&str] = &["index-url", "index_url"];

    #[track_caller]
    fn check_set(before: &str, after: &str) {
        let edited = set(before, "global", INDEX, "http://new/");
        assert_eq!(edited, after);
        assert_eq!(set(&edited, "global", INDEX, "http://new/"), after, "a second login changes nothing");
        assert_eq!(value(after, "global", INDEX).unwrap(), ["http://new/"]);
    }

    #[track_caller]
    fn check_add(before: &str, after: &str) {
        let edited = add_word(before, "distutils", "index-servers", "weir");
        assert_eq!(edited, after);
        assert_eq!(add_word(&edited, "distutils", "index-servers", "weir"), after);
    }

    #[test]
    fn an_option_is_replaced_where_it_stands() {
        check_set(
            "# mine\n[global]\ntimeout = 5\nIndex-URL : http://old/\n  # why\n  more\n\n[install]\nindex-url = keep\n",
            "# mine\n[global]\ntimeout = 5\nIndex-URL = http://new/\n  # why\n\n[install]\nindex-url = keep\n",
        );
        check_set(
            "[global]\nindex_url=a\nb=1\nindex-url=c\n  d\n; e",
            "[global]\nindex_url = http://new/\nb=1\n; e\n",
        );
        check_set("[global]\n  index-url=a\n  b=1\n", "[global]\n  index-url = http://new/\n  b=1\n");
    }

    #[test]
    fn a_new_option_stands_behind_the_last_of_its_section() {
        check_set("", "[global]\nindex-url = http://new/\n");
        check_set("# mine", "# mine\n\n[global]\nindex-url = http://new/\n");
        check_set("[global]\n[x]\na=1\n", "[global]\nindex-url = http://new/\n[x]\na=1\n");
        check_set(
            "[global]\ntrusted-host =\n    a\n\n    b\n\n# of x\n[x]\na=1\n",
            "[global]\ntrusted-host =\n    a\n\n    b\nindex-url = http://new/\n\n# of x\n[x]\na=1\n",
        );
        // A header that stands to the right of an option belongs to its value, for configparser too.
        check_set(
            "  [global]\n  a=1\n  [x]\n  b=1\n",
            "  [global]\n  a=1\n  index-url = http://new/\n  [x]\n  b=1\n",
        );
        check_set(
            "[x]\na=1\n  [global]\nindex-url-2=1\r\n",
            "[x]\na=1\n  [global]\nindex-url-2=1\n\n[global]\nindex-url = http://new/\n",
        );
        check_set("[Global]\n#[global]\n", "[Global]\n#[global]\n\n[global]\nindex-url = http://new/\n");
    }

    #[test]
    fn a_word_joins_the_others() {
        check_add("", "[distutils]\nindex-servers =\n    weir\n");
        check_add(
            "[distutils]\nindex-servers =\n  pypi\n\n  # mine\n  other\n\n[pypi]\nusername = me\n",
            "[distutils]\nindex-servers =\n  pypi\n\n  # mine\n  other\n  weir\n\n[pypi]\nusername = me\n",
        );
        check_add("[distutils]\nindex-servers = pypi", "[distutils]\nindex-servers = pypi\n    weir\n");
        check_add("[distutils]\nindex-servers=pypi weir", "[distutils]\nindex-servers=pypi weir");
        check_add(
            "[distutils]\nindex-servers=\n\tweir-2\n",
            "[distutils]\nindex-servers=\n\tweir-2\n\tweir\n",
        );
        check_add("[distutils]\n[weir]\n", "[distutils]\nindex-servers =\n    weir\n[weir]\n");
    }

    #[test]
    fn values_and_sections_are_found() {
        let text = "a = 0\n[x]\na = 1\n    2\n    # 3\nb\n#a = 4\n[y]\na = 5\n";
        assert_eq!(value(text, "x", &["a"]).unwrap(), ["1", "2"]);
        assert_eq!(value(text, "y", &["a"]).unwrap(), ["5"]);
        assert_eq!(value(text, "z", &["a"]), None);
        assert!(has_section(text, "y") && !has_section(text, "a"));
    }
}
