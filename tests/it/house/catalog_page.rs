//! docs/providers.md is made of the rows of the catalog.

use rekeyd::provider::catalog::{CATALOG, CatalogRow, Verb};

const HEAD: &str = "# Providers

Whose keys rekeyd keeps, and how it tests them: the cheapest request that needs the key and costs nothing. This page is made
of the catalog (`src/provider/catalog/rows.rs`); a test fails when it is stale. What an answer means, and why, is in
[docs/design/providers.md](design/providers.md); a provider of your own is added with
`rekeyd providers add vision-nova --kind openai --base-url https://llm.example.com/v1`.

| provider | name | what it is | keys look like | tested with | good for |
|---|---|---|---|---|---|
";

/// The page as the rows say.
pub(super) fn page() -> String {
    HEAD.to_owned() + &CATALOG.iter().map(row).collect::<String>()
}

fn row(row: &CatalogRow) -> String {
    let verb = match row.probe.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
    };
    let base = if row.base_url.is_empty() { "BASE_URL" } else { row.base_url };
    let good_for: Vec<&str> = row.capabilities.iter().map(|capability| capability.word()).collect();
    let cells = [
        format!("`{}`", row.name),
        format!("[{}]({})", row.title, row.docs_url),
        row.description.to_owned(),
        row.key_format.to_owned(),
        format!("{verb} `{base}/{}`", row.probe.path),
        good_for.join(", "),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}
