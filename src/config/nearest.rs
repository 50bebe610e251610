//! The valid name that somebody probably meant.

/// The candidate most like `text`, if any is like it at all.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let text = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (likeness(&text, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// 1 for equal texts, 0 for texts with nothing in common. Slips of a letter or two weigh little; so does a
/// missing half of a compound name (`max_deletes` for `max_deletes_per_hour`).
fn likeness(text: &str, candidate: &str) -> f64 {
    let slips = strsim::normalized_damerau_levenshtein(text, candidate);
    let half = text.len() >= 4 && (candidate.starts_with(text) || candidate.ends_with(text));
    if half { slips.max(0.75) } else { slips }
}

/// `did you mean "x"?`, or what is possible at all.
pub(super) fn suggestion<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
    what: &str,
) -> String {
    if let Some(name) = nearest(text, candidates.clone()) {
        return format!("did you mean {name:?}?");
    }
    let mut names: Vec<String> = candidates.into_iter().map(|name| format!("{name:?}")).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { format!("there are no {what}") } else { format!("{what}: {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let fields = ["listen", "public_url", "trusted_proxies", "max_deletes_per_hour", "max_age"];
        for (slip, meant) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("LISTEN", Some("listen")),
            ("publicurl", Some("public_url")),
            ("trusted_proxy", Some("trusted_proxies")),
            ("max_deletes", Some("max_deletes_per_hour")),
            ("per_hour", Some("max_deletes_per_hour")),
            ("colour", None),
        ] {
            assert_eq!(nearest(slip, fields), meant, "{slip}");
        }
    }

    #[test]
    fn else_says_what_is_possible() {
        assert_eq!(suggestion("lisen", ["listen"], "fields here"), "did you mean \"listen\"?");
        assert_eq!(suggestion("zzz", ["b", "a"], "fields here"), "fields here: \"a\", \"b\"");
        assert_eq!(suggestion("zzz", [], "accounts"), "there are no accounts");
    }
}
