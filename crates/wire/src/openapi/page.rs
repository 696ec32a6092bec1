//! The document as a page.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid; }
details { margin: .4rem 0; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); border-radius: .3rem; }
summary { padding: .4rem .7rem; cursor: pointer; }
summary code { font-weight: 600; }
.method { display: inline-block; min-width: 3.5rem; font-family: monospace; text-transform: uppercase; }
.inside { padding: 0 1rem 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0; }
pre { overflow: auto; }
";

/// The whole page.
pub(super) fn render(document: &Value) -> String {
    let title = text(&document["info"]["title"]);
    let version = text(&document["info"]["version"]);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title} {version}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style>\n\
         <h1>{title} {version}</h1>\n<p>The same for machines: <a href=\"{}\">openapi.json</a>.</p>\n",
        super::DOCUMENT_PATH
    );
    for tag in items(&document["tags"]) {
        let _ =
            writeln!(page, "<h2>{}</h2>\n<p>{}</p>", text(&tag["name"]), text(&tag["description"]));
        for (path, methods) in fields(&document["paths"]) {
            for (method, operation) in fields(methods) {
                if operation["tags"][0] == tag["name"] {
                    write_operation(&mut page, path, method, operation);
                }
            }
        }
    }
    page += "<h2>Shapes</h2>\n";
    for (name, schema) in fields(&document["components"]["schemas"]) {
        let name = escape(name);
        let _ = writeln!(
            page,
            "<details id=\"{name}\"><summary><code>{name}</code></summary><div class=\"inside\"><pre>{}</pre></div></details>",
            escape(&format!("{schema:#}"))
        );
    }
    page
}

fn write_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = writeln!(
        page,
        "<details><summary><span class=\"method\">{}</span> <code>{}</code> {}</summary><div class=\"inside\">",
        escape(method),
        escape(path),
        text(&operation["summary"]),
    );
    if let Some((scheme, _)) = fields(&operation["security"][0]).next() {
        let _ = writeln!(page, "<p>Authorization: {}</p>", escape(scheme));
    }
    let parameters: Vec<_> = items(&operation["parameters"]).collect();
    if !parameters.is_empty() {
        *page += "<table><tr><th>parameter<th>in<th>shape\n";
        for parameter in parameters {
            let needed = if parameter["required"] == true { " (needed)" } else { "" };
            let _ = writeln!(
                page,
                "<tr><td><code>{}</code>{needed}<td>{}<td>{}",
                text(&parameter["name"]),
                text(&parameter["in"]),
                shape(&parameter["schema"]),
            );
        }
        *page += "</table>\n";
    }
    for (kind, content) in fields(&operation["requestBody"]["content"]) {
        let _ = writeln!(page, "<p>Body: {} {}</p>", escape(kind), shape(&content["schema"]));
    }
    *page += "<table><tr><th>status<th>meaning<th>shape\n";
    for (status, answer) in fields(&operation["responses"]) {
        let content = fields(&answer["content"]).next();
        let shape = content
            .map(|(kind, content)| format!("{} {}", escape(kind), shape(&content["schema"])));
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}",
            escape(status),
            text(&answer["description"]),
            shape.unwrap_or_default(),
        );
    }
    *page += "</table></div></details>\n";
}

/// A schema on one line, with a way to those that have a name.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|at| at.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    match schema {
        Value::Object(fields) if fields.is_empty() => String::new(),
        _ => format!("<code>{}</code>", escape(&schema.to_string())),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
