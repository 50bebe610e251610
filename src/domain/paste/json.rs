//! JSON: a list of keys or of rows, an object by provider or by variable, what lists of ours print.

use serde_json::{Map, Value};

use super::{Fields, KEY, Offered, PROVIDER, Pasted, Refused, Vocabulary, bare};

/// Lists of rows stand under one of these names.
const LISTS: &[&str] = &["providers", "keys", "api_keys", "credentials", "data"];

pub(super) fn parse(text: &str, of: Option<&str>, vocabulary: &Vocabulary) -> Vec<Pasted> {
    let mut found = Vec::new();
    match serde_json::from_str(text) {
        Ok(value) => read(value, of, vocabulary, &mut found),
        Err(error) => {
            let why = format!(
                "this is no whole JSON: it breaks off in line {}, column {}",
                error.line(),
                error.column()
            );
            return vec![Pasted { line: error.line(), key: Err(Refused::new("", why)) }];
        }
    }
    let numbered = found.into_iter().enumerate();
    numbered.map(|(index, key)| Pasted { line: index + 1, key }).collect()
}

type Found = Vec<Result<Offered, Refused>>;

fn read(value: Value, of: Option<&str>, vocabulary: &Vocabulary, found: &mut Found) {
    match value {
        Value::Array(all) => all.into_iter().for_each(|one| read(one, of, vocabulary, found)),
        Value::String(key) => {
            let whose = of.map_or_else(|| vocabulary.by_form(key.trim()), |of| Ok(of.to_owned()));
            let offered = whose.map(|of| bare(of, key.trim(), None));
            found.push(offered.map_err(|why| Refused::new(&key, why)));
        }
        Value::Object(fields) => object(fields, of, vocabulary, found),
        other => found.push(Err(Refused::new(&other.to_string(), "no key, no row and no list"))),
    }
}

/// A row; else lists of rows, and fields that are called after a provider or a variable. What it says of a provider holds
/// for all in it.
fn object(mut fields: Map<String, Value>, of: Option<&str>, vocabulary: &Vocabulary, found: &mut Found) {
    if KEY.iter().any(|name| fields.get(*name).is_some_and(Value::is_string)) {
        return found.push(Fields(fields).offered(of, vocabulary));
    }
    let said = PROVIDER.iter().find_map(|name| match fields.get(*name) {
        Some(Value::String(_)) => fields.remove(*name).and_then(|value| value.as_str().map(str::to_owned)),
        _ => None,
    });
    let of = of.map(str::to_owned).or(said);
    let of = of.as_deref();
    let mut has_list = false;
    for list in LISTS {
        if let Some(Value::Array(rows)) = fields.get_mut(*list) {
            has_list = true;
            read(Value::Array(std::mem::take(rows)), of, vocabulary, found);
            fields.remove(*list);
        }
    }
    for (name, value) in fields {
        // Beside a list stands what says something of the list, and perhaps a key.
        let means_one = || vocabulary.known(&name).or_else(|| vocabulary.by_variable(&name)).is_some();
        if !has_list || means_one() {
            named(&name, value, of, vocabulary, found);
        }
    }
}

/// What stands under the name of a provider, or of a variable.
fn named(name: &str, value: Value, of: Option<&str>, vocabulary: &Vocabulary, found: &mut Found) {
    let called = vocabulary.known(name).or_else(|| vocabulary.by_variable(name));
    match (of.map(str::to_owned).or(called), value) {
        (Some(provider), Value::Object(mut fields)) => {
            let said = PROVIDER.iter().any(|field| fields.contains_key(*field));
            if !said {
                fields.insert(PROVIDER[0].to_owned(), Value::String(provider));
            }
            read(Value::Object(fields), of, vocabulary, found);
        }
        (Some(provider), value) => read(value, Some(&provider), vocabulary, found),
        (None, value @ Value::String(_)) => {
            let before = found.len();
            read(value, of, vocabulary, found);
            if found.last().is_some_and(Result::is_err) {
                found.truncate(before);
                found.push(Err(Refused::new(name, "the field is called after no provider")));
            }
        }
        (None, _) => found.push(Err(Refused::new(name, "the field is called after no provider"))),
    }
}
