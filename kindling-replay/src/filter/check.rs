//! Syntax to a condition: every field known, every value of its field's type.

use regex::bytes::{Regex, RegexBuilder};

use super::{
    error::Trouble,
    expr::{Expr, Matcher, Test},
    field::{self, FIELDS, FieldSpec, Type},
    lexer::Comparison,
    literal::{self, EVERYTHING, Network},
    parser::{Spanned, Syntax, Verb},
};

/// The most memory that a compiled regular expression may take.
const REGEX_LIMIT: usize = 1 << 20;

/// Checks a condition. `wall` maps wall times to nanoseconds since the start of the capture.
pub(super) fn check(syntax: &Syntax, wall: &dyn Fn(i64) -> i64) -> Result<Expr, Trouble> {
    let all = |parts: &[Syntax]| -> Result<Vec<Expr>, Trouble> {
        parts.iter().map(|part| check(part, wall)).collect()
    };
    Ok(match syntax {
        Syntax::All(parts) => Expr::All(all(parts)?),
        Syntax::Any(parts) => Expr::Any(all(parts)?),
        Syntax::Not(part) => Expr::Not(Box::new(check(part, wall)?)),
        Syntax::Test(name, verb) => {
            let spec = find(name)?;
            let (is, not) = matcher(spec, name, verb, wall)?;
            let field = spec.field;
            Expr::Test(Test { field, is, not })
        }
    })
}

fn find(name: &Spanned) -> Result<&'static FieldSpec, Trouble> {
    field::named(&name.text).ok_or_else(|| {
        let near = field::near(&name.text, FIELDS.iter().map(|spec| spec.name));
        let hint = match near.as_slice() {
            [] => "`--where help` lists all fields".to_owned(),
            near => format!(
                "did you mean {}? `--where help` lists all fields",
                near.join(" or ")
            ),
        };
        Trouble::new(&name.span, format!("there is no field `{}`", name.text)).with_hint(hint)
    })
}

/// What the verb asks, and whether it asks for the contrary.
fn matcher(
    spec: &FieldSpec,
    name: &Spanned,
    verb: &Verb,
    wall: &dyn Fn(i64) -> i64,
) -> Result<(Matcher, bool), Trouble> {
    let kind = spec.kind;
    let is = match verb {
        Verb::Exists if matches!(kind, Type::Bool) => Matcher::Within(vec![(1, 1)]),
        Verb::Exists => Matcher::Anything,
        Verb::Compare(Comparison::Equal, value) => equals(kind, std::slice::from_ref(value), wall)?,
        Verb::Compare(Comparison::NotEqual, value) => {
            return Ok((equals(kind, std::slice::from_ref(value), wall)?, true));
        }
        Verb::In(values) => equals(kind, values, wall)?,
        Verb::Compare(comparison, value) => {
            if !kind.is_ordered() {
                return Err(unfit(
                    spec,
                    name,
                    comparison.sign(),
                    "numbers, sizes and times",
                ));
            }
            let value = literal::number(kind, value, wall)?;
            let (first, last) = EVERYTHING;
            Matcher::Within(vec![match comparison {
                Comparison::Less => (first, value.saturating_sub(1)),
                Comparison::AtMost => (first, value),
                Comparison::Greater => (value.saturating_add(1), last),
                _ => (value, last),
            }])
        }
        Verb::Contains(value) => {
            texts_only(spec, name, "contains")?;
            Matcher::Contains(value.text.clone())
        }
        Verb::Glob(value) => {
            texts_only(spec, name, "glob")?;
            Matcher::Matches(regex(&glob(&value.text), value)?)
        }
        Verb::Matches(value) => {
            texts_only(spec, name, "matches")?;
            Matcher::Matches(regex(&value.text, value)?)
        }
    };
    Ok((is, false))
}

fn equals(kind: Type, values: &[Spanned], wall: &dyn Fn(i64) -> i64) -> Result<Matcher, Trouble> {
    let mut values = values.iter();
    Ok(match kind {
        Type::Text | Type::Bytes | Type::Word(_) | Type::Syscall => {
            let texts = values.map(|value| literal::text(kind, value));
            Matcher::Equals(texts.collect::<Result<_, _>>()?)
        }
        Type::Address => Matcher::Networks(values.map(Network::parse).collect::<Result<_, _>>()?),
        _ => {
            let ranges = values
                .by_ref()
                .map(|value| literal::range(kind, value, wall));
            Matcher::Within(ranges.collect::<Result<_, _>>()?)
        }
    })
}

fn texts_only(spec: &FieldSpec, name: &Spanned, verb: &str) -> Result<(), Trouble> {
    match spec.kind.is_text() {
        true => Ok(()),
        false => Err(unfit(spec, name, verb, "text")),
    }
}

fn unfit(spec: &FieldSpec, name: &Spanned, verb: &str, kinds: &str) -> Trouble {
    let what = format!(
        "`{verb}` is for {kinds}, and {} is of type {}",
        spec.name,
        spec.kind.name()
    );
    let verbs = match (spec.kind.is_ordered(), spec.kind.is_text()) {
        (true, _) => "== != < <= > >= in exists",
        (_, true) => "== != in contains glob matches exists",
        _ => "== != in exists",
    };
    Trouble::new(&name.span, what).with_hint(format!("what it can be asked: {verbs}"))
}

fn regex(pattern: &str, value: &Spanned) -> Result<Regex, Trouble> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_LIMIT).build();
    built.map_err(|error| {
        // The last line says what is wrong; those above draw the pattern.
        let message = error.to_string();
        let why = message.lines().last().unwrap_or_default();
        let why = why.strip_prefix("error: ").unwrap_or(why);
        Trouble::new(&value.span, format!("no regular expression: {why}"))
    })
}

/// `*` is any text, `?` any character, and the whole value is meant.
fn glob(pattern: &str) -> String {
    let mut regex = String::from("^(?s:");
    for c in pattern.chars() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex + ")$"
}
