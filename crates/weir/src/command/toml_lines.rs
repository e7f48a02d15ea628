//! Edits one table of a TOML file (uv.toml, Poetry's config.toml and auth.toml) line by line, so that all
//! else, comments included, stays as it was written. The result is parsed and compared with what it should
//! be: a file whose form this does not understand is refused, never damaged.

use anyhow::{Context as _, Result, anyhow, bail};
use std::ops::Range;
use toml::{Table, Value};

/// The table that is edited.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// `[a.b]`
    Table(&'a [&'a str]),
    /// The one of `[[array]]` whose `name` is this.
    Named {
        /// The array.
        array: &'a str,
        /// The value of its key `name`.
        name: &'a str,
    },
}

/// Sets keys of a table, which is made where it is not there; the error does not show values.
pub(super) fn set(text: &str, place: Place<'_>, pairs: &[(&str, Value)]) -> Result<String> {
    let before = parse(text)?;
    let wanted = changed(before, place, pairs)?;
    let edited = edit(text, place, pairs)?;
    match parse(&edited) {
        Ok(after) if after == wanted => Ok(edited),
        _ => bail!("it holds {place} in another form; write that as a table of its own, then log in again"),
    }
}

/// Parses; an error tells the line but not what is on it, which may be a secret.
pub(super) fn parse(text: &str) -> Result<Table> {
    text.parse::<Table>().map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
        anyhow!("it is not TOML: line {}: {}", line + 1, error.message())
    })
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(path) => write!(f, "[{}]", path.join(".")),
            Self::Named { array, .. } => write!(f, "[[{array}]]"),
        }
    }
}

/// What the file should mean afterwards.
fn changed(mut table: Table, place: Place<'_>, pairs: &[(&str, Value)]) -> Result<Table> {
    let other = || anyhow!("it holds something else than a table at {place}");
    let target = match place {
        Place::Table(path) => {
            let mut at = &mut table;
            for key in path {
                let below = at.entry(*key).or_insert_with(|| Value::Table(Table::new()));
                at = below.as_table_mut().with_context(other)?;
            }
            at
        }
        Place::Named { array, name } => {
            let all = table.entry(array).or_insert_with(|| Value::Array(Vec::new()));
            let all = all.as_array_mut().with_context(other)?;
            let known = all.iter().position(|one| one.get("name").and_then(Value::as_str) == Some(name));
            let at = known.unwrap_or_else(|| {
                all.push(Value::Table([("name".to_owned(), Value::from(name))].into_iter().collect()));
                all.len() - 1
            });
            all[at].as_table_mut().with_context(other)?
        }
    };
    target.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    Ok(table)
}

fn edit(text: &str, place: Place<'_>, pairs: &[(&str, Value)]) -> Result<String> {
    let old: Vec<&str> = text.lines().collect();
    let mut lines: Vec<String> = old.iter().map(|&line| line.to_owned()).collect();
    let rendered = pairs
        .iter()
        .map(|(key, value)| Ok((*key, format!("{key} = {}", render(value)?))))
        .collect::<Result<Vec<_>>>()?;
    match find(&old, place) {
        None => {
            if lines.last().is_some_and(|line| !line.trim().is_empty()) {
                lines.push(String::new());
            }
            match place {
                Place::Table(path) => {
                    let keys: Vec<String> = path.iter().map(|key| quote_key(key)).collect::<Result<_>>()?;
                    lines.push(format!("[{}]", keys.join(".")));
                }
                Place::Named { array, name } => {
                    lines.extend([format!("[[{array}]]"), format!("name = {}", quote(name)?)]);
                }
            }
            lines.extend(rendered.into_iter().map(|(_, line)| line));
        }
        Some(block) => {
            let mut end = block.start;
            let mut missing = rendered;
            for number in block {
                let line = old[number];
                if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                    end = number + 1;
                }
                let key = pair(line).map(|(key, _)| key);
                let known = key.and_then(|key| missing.iter().position(|(name, _)| *name == key));
                if let (Some(known), Some((_, value))) = (known, pair(line)) {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    lines[number] = format!("{indent}{}{}", missing.remove(known).1, comment(value));
                }
            }
            lines.splice(end..end, missing.into_iter().map(|(_, line)| line));
        }
    }
    Ok(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect())
}

/// The lines below the header of a table, up to the next header.
fn find(lines: &[&str], place: Place<'_>) -> Option<Range<usize>> {
    let headers: Vec<(usize, bool, Vec<String>)> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| header(line).map(|(is, keys)| (at, is, keys)))
        .collect();
    headers.iter().enumerate().find_map(|(index, (at, is_array, keys))| {
        let end = headers.get(index + 1).map_or(lines.len(), |(next, ..)| *next);
        let block = at + 1..end;
        let is_it = match place {
            Place::Table(path) => !is_array && keys.iter().eq(path.iter()),
            Place::Named { array, name } => {
                let table = || lines[block.clone()].join("\n").parse::<Table>().ok();
                *is_array
                    && keys.iter().eq([array].iter())
                    && table().is_some_and(|table| table.get("name").and_then(Value::as_str) == Some(name))
            }
        };
        is_it.then_some(block)
    })
}

/// `[a."b"]` or `[[a]]`: whether it is of an array, and the keys.
fn header(line: &str) -> Option<(bool, Vec<String>)> {
    let line = line.trim();
    let inside = line.strip_prefix('[')?;
    let (is_array, mut rest) = match inside.strip_prefix('[') {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let mut keys = Vec::new();
    loop {
        let (key, after) = key(rest.trim_start())?;
        keys.push(key.to_owned());
        rest = after.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => break,
        }
    }
    let rest = rest.strip_prefix(if is_array { "]]" } else { "]" })?.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some((is_array, keys))
}

/// A bare or quoted key, and what follows it. Escapes in keys are not read: such a table is not found.
fn key(text: &str) -> Option<(&str, &str)> {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            return inside.split_once(quote);
        }
    }
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let end = text.find(|c| !bare(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `key = value`: the key, and all that follows the `=`.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = key(line.trim_start())?;
    Some((key, rest.trim_start().strip_prefix('=')?))
}

/// The comment behind a value, with the space before it.
fn comment(value: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match quote {
            None if c == '#' => return &value[value[..at].trim_end().len()..],
            None if c == '"' || c == '\'' => quote = Some(c),
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            _ => {}
        }
    }
    ""
}

fn render(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => quote(text),
        Value::Boolean(is) => Ok(is.to_string()),
        _ => bail!("only texts and booleans are written"),
    }
}

fn quote(text: &str) -> Result<String> {
    if text.chars().any(char::is_control) {
        bail!("a value with control characters cannot be written");
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn quote_key(text: &str) -> Result<String> {
    match key(text) {
        Some((_, "")) if !text.starts_with(['"', '\'']) => Ok(text.to_owned()),
        _ => quote(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Place<'_> = Place::Table(&["http-basic", "weir"]);
    const NAMED: Place<'_> = Place::Named { array: "index", name: "weir" };

    fn pairs() -> [(&'static str, Value); 2] {
        [("url", "http://new/#\"\\".into()), ("default", true.into())]
    }

    #[track_caller]
    fn check(place: Place<'_>, before: &str, after: &str) {
        let edited = set(before, place, &pairs()).unwrap();
        assert_eq!(edited, after);
        assert_eq!(set(&edited, place, &pairs()).unwrap(), after, "a second login changes nothing");
    }

    #[track_caller]
    fn refused(place: Place<'_>, before: &str, why: &str) {
        let error = format!("{:#}", set(before, place, &pairs()).unwrap_err());
        assert!(error.contains(why) && !error.contains("secret"), "{error}");
    }

    const URL: &str = r#"url = "http://new/#\"\\""#;

    #[test]
    fn a_table_is_made_at_the_end() {
        check(TABLE, "", &format!("[http-basic.weir]\n{URL}\ndefault = true\n"));
        check(
            TABLE,
            "# mine\n[http-basic.other]\nurl = \"x\"",
            &format!("# mine\n[http-basic.other]\nurl = \"x\"\n\n[http-basic.weir]\n{URL}\ndefault = true\n"),
        );
        check(NAMED, "a = 1\n", &format!("a = 1\n\n[[index]]\nname = \"weir\"\n{URL}\ndefault = true\n"));
        check(
            NAMED,
            "[[index]]\nname = \"other\"\nurl = \"x\"\n\n",
            &format!(
                "[[index]]\nname = \"other\"\nurl = \"x\"\n\n[[index]]\nname = \"weir\"\n{URL}\ndefault = true\n"
            ),
        );
    }

    #[test]
    fn keys_are_replaced_where_they_stand_and_comments_stay() {
        check(
            TABLE,
            "[ http-basic . \"weir\" ] # mine\r\n# first\r\n  url = 'a#b' # why\r\n\r\n# of x\n[x]\nurl = 1\n",
            &format!(
                "[ http-basic . \"weir\" ] # mine\n# first\n  {URL} # why\ndefault = true\n\n# of x\n[x]\nurl = 1\n"
            ),
        );
        check(
            NAMED,
            "[[index]]\nurl = \"x\"\n[[index]]\n\"url\" = \"a\\\"#\"\t# why\nname = 'weir'\nexplicit = false\nmore = [\n  [1],\n]\n[pip]\n",
            &format!(
                "[[index]]\nurl = \"x\"\n[[index]]\n{URL}\t# why\nname = 'weir'\nexplicit = false\nmore = [\n  [1],\n]\ndefault = true\n[pip]\n"
            ),
        );
    }

    #[test]
    fn a_form_that_is_not_understood_is_refused() {
        let form = "in another form";
        refused(TABLE, "http-basic = { weir = { url = \"secret\" } }\n", form);
        refused(TABLE, "[http-basic]\nweir = { url = \"secret\" }\n", form);
        refused(TABLE, "http-basic.weir.url = \"secret\"\n", form);
        refused(TABLE, "[http-basic.weir]\nurl = \"\"\"\nsecret\"\"\"\n", form);
        refused(TABLE, "[\"http\\u002dbasic\".weir]\nurl = \"secret\"\n", form);
        refused(TABLE, "http-basic = 1\n", "something else than a table");
        refused(TABLE, "a = 1\nb = secret\n", "line 2");
        refused(NAMED, "index = [{ name = \"weir\", url = \"secret\" }]\n", form);
        refused(NAMED, "index = \"secret\"\n", "something else than a table");
        refused(TABLE, "text = '''\n[http-basic.weir]\nurl = \"secret\"\n'''\n", form);
    }

    /// Every sequence of four of these pieces is either refused or keeps all lines but those it may change.
    #[test]
    fn whatever_stands_around_it_stays() {
        let pieces = [
            "# url = 1\n",
            "\n",
            "[a]\nurl = \"keep\"\n",
            "[[index]]\nname = \"other\"\nurl = \"keep\" # [[index]]\n",
            "[[index]]\nname = \"weir\"\ndefault = false # c\n",
            "[http-basic.weir]\nurl = \"old\"\n# d\n",
            "[http-basic]\n",
            "[\"x.y\".'z']\nl = [\n  \"[a]\",\n]\n",
            "t = \"\"\"\n[[index]]\nurl = 1\n\"\"\"\n",
        ];
        let (mut edited_files, mut refused_files) = (0, 0);
        for number in 0..pieces.len().pow(4) {
            let text: String =
                (0..4).map(|place| pieces[number / pieces.len().pow(place) % pieces.len()]).collect();
            for place in [TABLE, NAMED] {
                let Ok(edited) = set(&text, place, &pairs()) else {
                    refused_files += 1;
                    continue;
                };
                edited_files += 1;
                let owned = |line: &&str| line.starts_with("url = \"old\"") || line.starts_with("default");
                let mut lines = edited.lines();
                for line in text.lines().filter(|line| !owned(line)) {
                    assert!(lines.any(|there| there == line), "{line:?} is gone:\n{text}\n->\n{edited}");
                }
                assert_eq!(edited.matches("# c").count(), text.matches("# c").count());
                assert_eq!(set(&edited, place, &pairs()).unwrap(), edited);
            }
        }
        assert!(edited_files > 2000, "{edited_files} edited, {refused_files} refused");
    }
}
