//! Templates of Functions and Addons: `${name}` and its forms, as upstream's fork of envsubst knows them.
//!
//! Invariant: values go into strings that are already parsed, never into JSON text, so that no value can become a field.
//! A value is never expanded again. Pure and total: any text gives a result or an error, in time and space that are bounded.
//!
//! | form | value |
//! |---|---|
//! | `${x}` | the value; unknown: an error |
//! | `${x:=d}` `${x=d}` `${x:-d}` | the value, also when empty; unknown: `d`, which may hold templates itself |
//! | `${x^}` `${x^^}` `${x,}` `${x,,}` | first or every letter in upper or lower case |
//! | `${#x}` | number of characters |
//! | `${x:n}` `${x:n:len}` | characters from `n` on, at most `len`; past the end: nothing |
//! | `${x#p}` `${x##p}` `${x%p}` `${x%%p}` | without the shortest or longest match of the glob `p` at the start or the end |
//! | `${x/a/b}` `${x//a/b}` `${x/#a/b}` `${x/%a/b}` | `b` for the first, every, leading, trailing text `a` |
//! | `$${` | the text `${` |
//!
//! In `p`, `a`, `b` and `d` a backslash takes the next character literally. A `$` before anything else stands for itself.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Names and their values.
pub type Variables = BTreeMap<String, String>;

/// Most bytes that one string may grow to; a termination message, an argument and an environment variable all fit.
const OUTPUT_LIMIT: usize = 1 << 20;
/// How deep templates may stand inside the defaults of others.
const DEPTH_LIMIT: usize = 16;
/// Most characters of a glob.
const GLOB_LIMIT: usize = 256;

/// A template that cannot be filled in, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct TemplateError {
    /// Field path, such as `spec.args[2]`.
    pub place: String,
    /// What is wrong with it.
    pub problem: TemplateProblem,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    /// Nobody gives this variable, and the template has no default for it.
    #[error("unknown variable {name:?}; known are {known}; give it under the task's variables or params, or write ${{{name}:=DEFAULT}}")]
    Unknown {
        /// The variable.
        name: String,
        /// The names there are.
        known: Names,
    },
    /// A form that upstream does not know either.
    #[error("cannot read the template {0:?}")]
    Form(String),
    /// A `${` without its `}`.
    #[error("the template {0:?} has no closing brace")]
    Unclosed(String),
    /// Templates within defaults of templates, too many levels of them.
    #[error("templates are nested deeper than {DEPTH_LIMIT} levels")]
    TooDeep,
    /// The text would grow beyond every use.
    #[error("the text grows beyond {OUTPUT_LIMIT} bytes")]
    TooLong,
    /// The filled-in object is not of its type any more.
    #[error("with its templates filled in, the object cannot be read: {0}")]
    Shape(String),
}

/// Names, for a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Fills in one text.
pub fn expand(text: &str, variables: &Variables) -> Result<String, TemplateProblem> {
    let mut out = String::with_capacity(text.len());
    Reader { rest: text, variables, depth: 0, unused: false }.text(&mut out)?;
    Ok(out)
}

/// Fills in every string of an object; all that is wrong with it comes back at once. Keys of maps stay as they are.
///
/// `place` starts the paths of the errors, such as `Function backproof-pvc-restore: spec`.
pub fn expand_object<T: Serialize + DeserializeOwned>(object: &T, variables: &Variables, place: &str) -> Result<T, Vec<TemplateError>> {
    let shape =
        |error: serde_json::Error| vec![TemplateError { place: place.to_owned(), problem: TemplateProblem::Shape(error.to_string()) }];
    let mut value = serde_json::to_value(object).map_err(shape)?;
    let mut errors = Vec::new();
    expand_value(&mut value, variables, place, &mut errors);
    if errors.is_empty() { serde_json::from_value(value).map_err(shape) } else { Err(errors) }
}

fn expand_value(value: &mut Value, variables: &Variables, place: &str, errors: &mut Vec<TemplateError>) {
    match value {
        Value::String(text) => match expand(text, variables) {
            Ok(filled) => *text = filled,
            Err(problem) => errors.push(TemplateError { place: place.to_owned(), problem }),
        },
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                expand_value(item, variables, &format!("{place}[{at}]"), errors);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                expand_value(field, variables, &format!("{place}.{name}"), errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Reader<'a> {
    rest: &'a str,
    variables: &'a Variables,
    depth: usize,
    /// Whether the text is read for its end only, so that an unknown name in it harms nobody.
    unused: bool,
}

impl<'a> Reader<'a> {
    /// Text outside of braces, to its end.
    fn text(&mut self, out: &mut String) -> Result<(), TemplateProblem> {
        while let Some(at) = self.rest.find('$') {
            push(out, &self.rest[..at])?;
            self.rest = &self.rest[at..];
            if let Some(rest) = self.rest.strip_prefix("$${") {
                push(out, "${")?;
                self.rest = rest;
            } else if self.rest.starts_with("${") {
                self.template(out)?;
            } else {
                push(out, "$")?;
                self.rest = &self.rest[1..];
            }
        }
        push(out, self.rest)
    }

    /// One template, from its `${` to behind its `}`.
    fn template(&mut self, out: &mut String) -> Result<(), TemplateProblem> {
        let whole = self.rest;
        if self.depth >= DEPTH_LIMIT {
            return Err(TemplateProblem::TooDeep);
        }
        self.rest = &self.rest[2..];
        let length = self.eat("#");
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.is_empty() {
            return Err(TemplateProblem::Form(excerpt(whole)));
        }
        let value = self.variables.get(name).map(String::as_str);
        let operator = if length { Operator::Length } else { self.operator(whole)? };
        let filled = self.apply(operator, value, whole)?;
        if !self.eat("}") {
            return Err(if self.rest.is_empty() {
                TemplateProblem::Unclosed(excerpt(whole))
            } else {
                TemplateProblem::Form(excerpt(whole))
            });
        }
        match filled {
            Some(text) => push(out, &text),
            None if self.unused => Ok(()),
            None => Err(TemplateProblem::Unknown { name: name.to_owned(), known: Names(self.variables.keys().cloned().collect()) }),
        }
    }

    fn operator(&mut self, whole: &str) -> Result<Operator, TemplateProblem> {
        // Longer signs first: `##` would else be read as `#` and a pattern that starts with `#`.
        const SIGNS: &[(&str, Operator)] = &[
            (":=", Operator::Default),
            (":-", Operator::Default),
            ("=", Operator::Default),
            (":", Operator::Slice),
            ("^^", Operator::Case { first: false, upper: true }),
            ("^", Operator::Case { first: true, upper: true }),
            (",,", Operator::Case { first: false, upper: false }),
            (",", Operator::Case { first: true, upper: false }),
            ("##", Operator::Trim { end: End::Start, longest: true }),
            ("#", Operator::Trim { end: End::Start, longest: false }),
            ("%%", Operator::Trim { end: End::Finish, longest: true }),
            ("%", Operator::Trim { end: End::Finish, longest: false }),
            ("//", Operator::Replace(Which::Every)),
            ("/#", Operator::Replace(Which::Leading)),
            ("/%", Operator::Replace(Which::Trailing)),
            ("/", Operator::Replace(Which::First)),
        ];
        if self.rest.starts_with('}') || self.rest.is_empty() {
            return Ok(Operator::Value);
        }
        SIGNS.iter().find(|(sign, _)| self.eat(sign)).map(|(_, operator)| *operator).ok_or_else(|| TemplateProblem::Form(excerpt(whole)))
    }

    /// Reads what follows the operator and gives the value; `None` when the variable is unknown and no default was read.
    fn apply(&mut self, operator: Operator, value: Option<&str>, whole: &str) -> Result<Option<String>, TemplateProblem> {
        match operator {
            Operator::Value => Ok(value.map(str::to_owned)),
            Operator::Length => Ok(value.map(|text| text.chars().count().to_string())),
            Operator::Case { first, upper } => Ok(value.map(|text| cased(text, first, upper))),
            Operator::Default => {
                let default = self.argument(&['}'], value.is_none(), whole)?;
                Ok(Some(value.map_or(default.text, str::to_owned)))
            }
            Operator::Slice => {
                let from = self.number(whole)?;
                let most = if self.eat(":") { Some(self.number(whole)?) } else { None };
                Ok(value.map(|text| text.chars().skip(from).take(most.unwrap_or(usize::MAX)).collect()))
            }
            Operator::Trim { end, longest } => {
                let pattern = self.argument(&['}'], true, whole)?;
                if pattern.marked.len() > GLOB_LIMIT {
                    return Err(TemplateProblem::TooLong);
                }
                Ok(value.map(|text| trimmed(text, &glob(&pattern.marked), end, longest)))
            }
            Operator::Replace(which) => {
                let from = self.argument(&['/', '}'], true, whole)?.text;
                let to = if self.eat("/") { self.argument(&['}'], true, whole)?.text } else { String::new() };
                value.map(|text| replaced(text, &from, &to, which)).transpose()
            }
        }
    }

    /// Text up to one of the stops, which stays; templates in it are filled in when `used`.
    fn argument(&mut self, stops: &[char], used: bool, whole: &str) -> Result<Argument, TemplateProblem> {
        let mut read = Argument::default();
        loop {
            let Some(c) = self.rest.chars().next() else { return Err(TemplateProblem::Unclosed(excerpt(whole))) };
            if stops.contains(&c) {
                return Ok(read);
            }
            if self.rest.starts_with("${") {
                let mut inner = String::new();
                let mut nested = Reader { rest: self.rest, variables: self.variables, depth: self.depth + 1, unused: self.unused || !used };
                nested.template(&mut inner)?;
                self.rest = nested.rest;
                for c in inner.chars() {
                    read.push(c, true);
                }
            } else {
                self.rest = &self.rest[c.len_utf8()..];
                let escaped = (c == '\\').then(|| self.rest.chars().next()).flatten();
                if let Some(next) = escaped {
                    self.rest = &self.rest[next.len_utf8()..];
                }
                read.push(escaped.unwrap_or(c), escaped.is_some());
            }
            if read.text.len() > OUTPUT_LIMIT {
                return Err(TemplateProblem::TooLong);
            }
        }
    }

    fn number(&mut self, whole: &str) -> Result<usize, TemplateProblem> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().map_err(|_| TemplateProblem::Form(excerpt(whole)))
    }

    fn eat(&mut self, sign: &str) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[derive(Clone, Copy)]
enum Operator {
    Value,
    Length,
    Default,
    Slice,
    Case { first: bool, upper: bool },
    Trim { end: End, longest: bool },
    Replace(Which),
}

#[derive(Clone, Copy)]
enum End {
    Start,
    Finish,
}

#[derive(Clone, Copy)]
enum Which {
    First,
    Every,
    Leading,
    Trailing,
}

/// Text that was read, and for each character whether it stands for itself in a glob.
#[derive(Default)]
struct Argument {
    text: String,
    marked: Vec<(char, bool)>,
}

impl Argument {
    fn push(&mut self, c: char, literal: bool) {
        self.text.push(c);
        // More than a glob may have need not be kept: one character too many is enough to refuse it.
        if self.marked.len() <= GLOB_LIMIT {
            self.marked.push((c, literal));
        }
    }
}

fn push(out: &mut String, text: &str) -> Result<(), TemplateProblem> {
    if out.len().saturating_add(text.len()) > OUTPUT_LIMIT {
        return Err(TemplateProblem::TooLong);
    }
    out.push_str(text);
    Ok(())
}

fn cased(text: &str, first: bool, upper: bool) -> String {
    let change = |c: char| -> String { if upper { c.to_uppercase().collect() } else { c.to_lowercase().collect() } };
    text.char_indices().map(|(at, c)| if first && at > 0 { c.to_string() } else { change(c) }).collect()
}

fn replaced(text: &str, from: &str, to: &str, which: Which) -> Result<String, TemplateProblem> {
    if from.is_empty() {
        return Ok(text.to_owned());
    }
    let times = match which {
        Which::Every => text.matches(from).count(),
        Which::First | Which::Leading | Which::Trailing => 1,
    };
    if text.len().saturating_add(times.saturating_mul(to.len())) > OUTPUT_LIMIT {
        return Err(TemplateProblem::TooLong);
    }
    Ok(match which {
        Which::First => text.replacen(from, to, 1),
        Which::Every => text.replace(from, to),
        Which::Leading => text.strip_prefix(from).map_or_else(|| text.to_owned(), |rest| format!("{to}{rest}")),
        Which::Trailing => text.strip_suffix(from).map_or_else(|| text.to_owned(), |rest| format!("{rest}{to}")),
    })
}

/// One element of a glob.
enum Glob {
    Literal(char),
    AnyOne,
    AnyText,
    OneOf { ranges: Vec<(char, char)>, inverted: bool },
}

impl Glob {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Literal(own) => *own == c,
            Self::AnyOne | Self::AnyText => true,
            Self::OneOf { ranges, inverted } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *inverted,
        }
    }
}

fn glob(marked: &[(char, bool)]) -> Vec<Glob> {
    let mut elements = Vec::new();
    let mut at = 0;
    while let Some((c, literal)) = marked.get(at) {
        at += 1;
        match (c, literal) {
            ('*', false) => elements.push(Glob::AnyText),
            ('?', false) => elements.push(Glob::AnyOne),
            ('[', false) => match class(&marked[at..]) {
                Some((element, length)) => {
                    elements.push(element);
                    at += length;
                }
                // A bracket that is never closed stands for itself, as in a shell.
                None => elements.push(Glob::Literal('[')),
            },
            (c, _) => elements.push(Glob::Literal(*c)),
        }
    }
    elements
}

/// The inside of a bracket, and how many characters it takes with its closing one.
fn class(marked: &[(char, bool)]) -> Option<(Glob, usize)> {
    let inverted = matches!(marked.first(), Some(('^' | '!', false)));
    let start = usize::from(inverted);
    // The first character inside belongs to the class even if it is a closing bracket.
    let length = 1 + marked.get(start + 1..)?.iter().position(|(c, literal)| *c == ']' && !literal)?;
    let inside = &marked[start..start + length];
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some((low, _)) = inside.get(at) {
        match (inside.get(at + 1), inside.get(at + 2)) {
            (Some(('-', false)), Some((high, _))) => {
                ranges.push((*low, *high));
                at += 3;
            }
            _ => {
                ranges.push((*low, *low));
                at += 1;
            }
        }
    }
    Some((Glob::OneOf { ranges, inverted }, start + length + 1))
}

fn trimmed(text: &str, glob: &[Glob], end: End, longest: bool) -> String {
    let forward = text.chars();
    let (taken, total) = match end {
        End::Start => (matched(glob.iter(), forward, longest), text.chars().count()),
        End::Finish => (matched(glob.iter().rev(), forward.rev(), longest), text.chars().count()),
    };
    match (end, taken) {
        (_, None) => text.to_owned(),
        (End::Start, Some(taken)) => text.chars().skip(taken).collect(),
        (End::Finish, Some(taken)) => text.chars().take(total - taken).collect(),
    }
}

/// How many characters the glob takes from the start: every state it can be in is followed at once, so that no pattern
/// makes it try again and again.
fn matched<'a>(glob: impl Iterator<Item = &'a Glob>, text: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
    let glob: Vec<&Glob> = glob.collect();
    let mut states = vec![false; glob.len() + 1];
    states[0] = true;
    let skip_empty = |states: &mut Vec<bool>| {
        for at in 0..glob.len() {
            if states[at] && matches!(glob[at], Glob::AnyText) {
                states[at + 1] = true;
            }
        }
    };
    skip_empty(&mut states);
    let mut best = states[glob.len()].then_some(0);
    for (at, c) in text.enumerate() {
        if best.is_some() && !longest {
            break;
        }
        let mut next = vec![false; glob.len() + 1];
        for (state, element) in glob.iter().enumerate() {
            if states[state] && element.takes(c) {
                next[if matches!(element, Glob::AnyText) { state } else { state + 1 }] = true;
            }
        }
        skip_empty(&mut next);
        states = next;
        if states[glob.len()] {
            best = Some(at + 1);
        }
        if !states.contains(&true) {
            break;
        }
    }
    best
}

/// The beginning of a template, for a message.
fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
