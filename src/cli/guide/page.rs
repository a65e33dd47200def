//! The guide as one HTML page: its Markdown rendered, each block of code with a button that copies it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, HtmlEscape, context};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd, html};
use sha2::{Digest as _, Sha256};

use crate::domain::trust::PLACEHOLDER;

const PAGE: &str = include_str!("templates/page.html");
const STYLE: &str = include_str!("templates/page.css");
const SCRIPT: &str = include_str!("templates/page.js");

/// The page. `files` are shown below the text, by name; links to such a name lead there.
pub(super) fn render(bucket: &str, markdown: &str, files: &[(&str, String)]) -> String {
    let (body, chapters) = body(markdown);
    let files: Vec<_> =
        files.iter().map(|(name, text)| context! {name => *name, snippet => snippet(name, text)}).collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let mut syntax = SyntaxConfig::builder();
    environment.set_syntax(syntax.keep_trailing_newline(true).build().expect("these are its own delimiters"));
    let facts = context! {
        bucket, body, chapters, files,
        style => STYLE,
        script => SCRIPT,
        style_hash => hash(STYLE),
        script_hash => hash(SCRIPT),
    };
    environment.render_str(PAGE, facts).expect("the template is fixed, and tests render it")
}

/// The text as HTML, and its chapters: anchor and title.
fn body(markdown: &str) -> (String, Vec<(String, String)>) {
    let mut chapters = Vec::new();
    let mut events = Vec::new();
    let mut parser = Parser::new_ext(markdown, Options::ENABLE_TABLES);
    while let Some(event) = parser.next() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let title = info.split_once(' ').map_or("", |(_, title)| title);
                events.push(Event::Html(snippet(title, text_until_end(&mut parser).trim_end()).into()));
            }
            Event::Start(Tag::Heading { level: pulldown_cmark::HeadingLevel::H2, .. }) => {
                let title = text_until_end(&mut parser);
                let anchor = format!("chapter-{}", chapters.len() + 1);
                events.push(Event::Html(format!("<h2 id=\"{anchor}\">{}</h2>\n", escape(&title)).into()));
                chapters.push((anchor, title));
            }
            Event::Start(Tag::Link { dest_url, link_type, title, id }) if !dest_url.contains(':') => {
                let dest_url = format!("#{dest_url}").into();
                events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
            }
            // The guide has no markup of its own: what looks like it is text.
            Event::Html(text) | Event::InlineHtml(text) => events.push(Event::Text(text)),
            other => events.push(other),
        }
    }
    let mut out = String::new();
    html::push_html(&mut out, events.into_iter());
    (mark_placeholder(&out), chapters)
}

/// What is written up to the end of the element that has just begun.
fn text_until_end<'a>(parser: &mut impl Iterator<Item = Event<'a>>) -> String {
    let mut text = String::new();
    for event in parser {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::End(TagEnd::CodeBlock | TagEnd::Heading(_)) => break,
            _ => {}
        }
    }
    text
}

fn snippet(title: &str, text: &str) -> String {
    let (title, text) = (escape(title), escape(text));
    let copy = format!("<button type=\"button\" class=\"copy\" aria-label=\"Copy {title}\">Copy</button>");
    let caption = format!("<figcaption><span>{title}</span>{copy}</figcaption>");
    mark_placeholder(&format!("<figure>{caption}<pre><code>{text}</code></pre></figure>\n"))
}

fn mark_placeholder(html: &str) -> String {
    let escaped = escape(PLACEHOLDER);
    let marked = format!("<mark>{escaped}</mark>");
    html.replace(&marked, &escaped).replace(&escaped, &marked)
}

fn escape(text: &str) -> String {
    HtmlEscape(text).to_string()
}

/// The source expression of a Content-Security-Policy that lets exactly this text in.
fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}
