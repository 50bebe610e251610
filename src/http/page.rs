//! The page that shows the API's own description to people.

use serde_json::Value;

use super::problem::CODES;

/// All of its style.
pub(super) const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}\
h1,h2,h3{line-height:1.2}h3{margin:2rem 0 .25rem;font-size:1rem}code{font-size:.9rem;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}a{color:#8ab4f8}}";

/// The whole page.
pub(super) fn of(document: &Value) -> String {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>rekeyd API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>rekeyd API {}</h1><p>For programs: <a href=\"v1/openapi.json\">openapi.json</a>, OpenAPI 3.1. Send a token \
         as <code>Authorization: Bearer rk_…</code>; <code>rekeyd tokens create</code> makes one.</p><h2>Paths</h2>",
        text(&document["info"]["version"])
    );
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            page.push_str(&shown(path, method, operation));
        }
    }
    page.push_str("<h2>Shapes</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let said = text(&schema["description"]);
        page.push_str(&format!("<h3 id=\"{name}\">{name}</h3><p>{said}</p>{}", fields(schema)));
    }
    page.push_str("<h2>Problems</h2><p>Whatever is not done is answered with <code>application/problem+json</code>.</p>");
    for (code, said) in CODES {
        page.push_str(&format!("<h3 id=\"{code}\">{code}</h3><p>{}</p>", escaped(said)));
    }
    page.push_str("</body></html>");
    page
}

fn shown(path: &str, method: &str, operation: &Value) -> String {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let id = text(&operation["operationId"]);
    let mut shown = format!(
        "<h3 id=\"{id}\"><code>{} {}</code></h3><p>{}. {}</p>",
        method.to_uppercase(),
        escaped(path),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let rows: Vec<String> =
        parameters.map(|it| row(&text(&it["name"]), &it["schema"], &text(&it["description"]))).collect();
    if !rows.is_empty() {
        shown.push_str(&format!("<table>{}</table>", rows.concat()));
    }
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        shown.push_str(&format!(
            "<p>Takes {}</p>",
            content.values().map(|it| kind(&it["schema"])).collect::<String>()
        ));
    }
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let content = answer["content"].as_object().into_iter().flatten();
        let shape: String = content.map(|(_, it)| kind(&it["schema"])).collect();
        if status != "default" {
            shown.push_str(&format!("<p>{status} {shape}</p>"));
        }
    }
    shown
}

fn fields(schema: &Value) -> String {
    let all = schema["properties"].as_object().into_iter().flatten();
    let rows = all.map(|(name, field)| {
        row(&escaped(name), field, &escaped(field["description"].as_str().unwrap_or_default()))
    });
    format!("<table>{}</table>", rows.collect::<String>())
}

fn row(name: &str, schema: &Value, said: &str) -> String {
    format!("<tr><td><code>{name}</code></td><td>{}</td><td>{said}</td></tr>", kind(schema))
}

/// What a value is, in a word; a shape of its own is a link.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match &schema["type"] {
        Value::String(word) if word == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(word) => escaped(word),
        Value::Array(words) => {
            words.iter().filter_map(Value::as_str).map(escaped).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::doc::openapi;
    use crate::http::router::routes;

    #[test]
    fn every_link_of_the_page_leads_somewhere_on_it() {
        let page = of(&openapi(routes().declared()));
        let links = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next());
        let dead: Vec<&str> = links.filter(|id| !page.contains(&format!("id=\"{id}\""))).collect();
        assert!(dead.is_empty(), "{dead:?}");
        assert!(!page.contains("<script") && !page.contains("://"), "nothing is loaded");
    }

    #[test]
    fn what_others_wrote_is_text() {
        assert_eq!(escaped("<b title=\"x\">&"), "&lt;b title=&quot;x&quot;&gt;&amp;");
    }
}
