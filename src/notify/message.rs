//! Notices → one letter. Pure: the same notices make the same letter.
//!
//! The text part is the letter; the HTML part says the same, and loads nothing from anywhere. Whatever came
//! from outside is redacted and escaped here once more, whoever has done so before.

use std::fmt::Write as _;

use crate::domain::alert::{Event, Notice, Severity};
use crate::domain::plain;
use crate::domain::secret::redact;

/// Subject and both parts of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// `text/plain`
    pub text: String,
    /// `text/html`
    pub html: String,
}

impl Letter {
    fn of(subject: String, sections: &[Section], voice: &LetterContext) -> Self {
        let (text, html) = (text_of(sections, voice), html_of(&subject, sections, voice));
        Self { subject, text, html }
    }
}

/// What a letter must know besides its notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterContext {
    /// `[server] public_url`, for the links to the dashboard.
    pub public_url: String,
}

/// An open alert, for the digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// How bad it is.
    pub severity: Severity,
    /// `rotation production`
    pub subject: String,
    /// `key invalid`
    pub title: String,
    /// In whole sentences.
    pub detail: String,
    /// RFC 3339 UTC.
    pub opened_at: String,
    /// Somebody has seen it.
    pub acked: bool,
}

/// One letter about at least one notice; the worst one gives the subject.
pub fn letter(notices: &[Notice], voice: &LetterContext) -> Letter {
    let mut ordered: Vec<&Notice> = notices.iter().collect();
    // The worst first; among equals the oldest.
    ordered.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| (a.at, &a.id).cmp(&(b.at, &b.id))));
    let more = match ordered.len() {
        0 | 1 => String::new(),
        n => format!(" (+{} more)", n - 1),
    };
    let subject = ordered.first().map_or_else(|| "[rekeyd]".to_owned(), |first| subject_of(first));
    let sections = shortened(ordered.into_iter().map(section).collect());
    Letter::of(one_line(&format!("{subject}{more}")), &sections, voice)
}

/// What is open, for people who like to see it all at once.
pub fn digest(open: &[Open], voice: &LetterContext) -> Letter {
    let critical = open.iter().filter(|alert| alert.severity == Severity::Critical).count();
    let (count, noun) = (open.len(), if open.len() == 1 { "alert" } else { "alerts" });
    let urgent = if critical > 0 { format!(", {critical} critical") } else { String::new() };
    let sections = open
        .iter()
        .map(|alert| Section {
            heading: format!("{}: {}: {}", word(alert.severity), clean(&alert.subject), alert.title),
            colour: colour(Some(alert.severity)),
            answers: vec![(
                if alert.acked { "Acknowledged" } else { "Not acknowledged" },
                clean(&alert.detail),
            )],
            footer: format!("Open since {}.", alert.opened_at),
            page: None,
        })
        .collect();
    Letter::of(format!("[rekeyd] DIGEST {count} open {noun}{urgent}"), &shortened(sections), voice)
}

/// The mail of `alerts test-email`.
pub fn trial(voice: &LetterContext) -> Letter {
    let section = Section {
        heading: "INFO: test mail".to_owned(),
        colour: colour(Some(Severity::Info)),
        answers: vec![
            ("What happened", "Somebody asked for this mail by `rekeyd alerts test-email`.".to_owned()),
            ("What you must do", "Nothing: alerts reach you.".to_owned()),
        ],
        footer: String::new(),
        page: None,
    };
    Letter::of("[rekeyd] INFO test mail".to_owned(), &[section], voice)
}

/// One alert in a letter, the same for both parts.
struct Section {
    heading: String,
    colour: &'static str,
    answers: Vec<(&'static str, String)>,
    footer: String,
    /// The alert's page of the dashboard, below the public URL.
    page: Option<String>,
}

impl Section {
    fn address(&self, voice: &LetterContext) -> Option<String> {
        Some(format!("{}{}", voice.public_url.trim_end_matches('/'), self.page.as_ref()?))
    }
}

/// So many alerts are told in full in one letter, the worst first; of so many more the heading.
const IN_FULL: usize = 20;
const BY_HEADING: usize = 100;

/// A letter that somebody reads to its end: thousands of alerts have one cause, and servers refuse mails of megabytes.
fn shortened(mut sections: Vec<Section>) -> Vec<Section> {
    let rest = sections.split_off(sections.len().min(IN_FULL));
    if rest.is_empty() {
        return sections;
    }
    let mut lines: Vec<String> =
        rest.iter().take(BY_HEADING).map(|section| section.heading.clone()).collect();
    if rest.len() > BY_HEADING {
        lines.push(format!("and {} others", rest.len() - BY_HEADING));
    }
    sections.push(Section {
        heading: format!("{} more", rest.len()),
        colour: colour(None),
        answers: vec![
            ("In short", lines.join("\n")),
            ("What you must do", "See them all: `rekeyd alerts list`".to_owned()),
        ],
        footer: String::new(),
        page: Some("/alerts".to_owned()),
    });
    sections
}

fn section(notice: &Notice) -> Section {
    let advice = notice.kind.advice();
    let detail = clean(&notice.detail);
    let opened = notice.opened_at.rfc3339();
    let (answers, footer) = if notice.event == Event::Resolved {
        let over = format!("It is over since {}.", notice.at.rfc3339());
        let answers =
            vec![("What happened", detail), ("Now", over), ("What you must do", "Nothing.".to_owned())];
        (answers, format!("Alert {}, opened {opened}.", notice.alert))
    } else {
        let answers = vec![
            (happened(notice.event), detail),
            ("What still works", advice.still.to_owned()),
            ("What rekeyd does next", advice.next.to_owned()),
            ("What you must do", clean(&advice.must_about(&notice.subject, notice.rotation.as_deref()))),
        ];
        (answers, footer(notice, &opened))
    };
    let heading = format!("{}: {}: {}", label(notice), notice.subject, notice.kind.title());
    let severity = (notice.event != Event::Resolved).then_some(notice.severity);
    let page = Some(format!("/alerts/{}", notice.alert));
    Section { heading: clean(&heading), colour: colour(severity), answers, footer, page }
}

fn happened(event: Event) -> &'static str {
    match event {
        Event::Opened | Event::Resolved => "What happened",
        Event::Escalated => "It got worse",
        Event::Reminded => "Still open",
    }
}

/// Information needs no acknowledgement.
fn footer(notice: &Notice, opened: &str) -> String {
    let base = format!("Alert {}, opened {opened}.", notice.alert);
    match notice.severity {
        Severity::Info => base,
        _ => format!("{base} No more reminders: rekeyd alerts ack {}", notice.alert),
    }
}

/// `[rekeyd] CRITICAL production: key invalid`
fn subject_of(notice: &Notice) -> String {
    format!("[rekeyd] {} {}: {}", label(notice), clean(&notice.subject.short()), notice.kind.title())
}

fn label(notice: &Notice) -> &'static str {
    if notice.event == Event::Resolved { "RESOLVED" } else { word(notice.severity) }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    }
}

/// What is over is less urgent than anything that is not.
fn rank(notice: &Notice) -> (bool, Severity) {
    (notice.event != Event::Resolved, notice.severity)
}

fn colour(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "#b3261e",
        Some(Severity::Warning) => "#8a5300",
        Some(Severity::Info) => "#1f5f99",
        None => "#1e6b3a",
    }
}

fn text_of(sections: &[Section], voice: &LetterContext) -> String {
    let mut text = String::new();
    for section in sections {
        let _ = writeln!(text, "{}\n", section.heading);
        for (question, answer) in &section.answers {
            let _ = writeln!(text, "{question}:\n  {}\n", answer.replace('\n', "\n  "));
        }
        if !section.footer.is_empty() {
            let _ = writeln!(text, "{}\n", section.footer);
        }
        if let Some(address) = section.address(voice) {
            let _ = writeln!(text, "{address}\n");
        }
        let _ = writeln!(text, "--------\n");
    }
    let _ = writeln!(text, "Status: {}", voice.public_url);
    text
}

/// Colours come in pairs, ground and letters, so that a reader with a dark ground shows them as they are meant.
fn html_of(subject: &str, sections: &[Section], voice: &LetterContext) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light\"><title>{}</title></head>\n\
         <body style=\"margin:0;padding:16px;background:#ffffff;color:#1b1b1b;font-family:sans-serif;font-size:15px;\
         line-height:1.4\"><div style=\"max-width:40em;background:#ffffff;color:#1b1b1b;overflow-wrap:anywhere\">\n",
        escape(subject)
    );
    for section in sections {
        let _ = writeln!(
            html,
            "<h2 style=\"font-size:17px;margin:0 0 8px;padding-left:10px;border-left:4px solid {0};color:{0}\">{1}</h2>",
            section.colour,
            escape(&section.heading)
        );
        for (question, answer) in &section.answers {
            let answer = escape(answer).replace('\n', "<br>\n");
            let _ =
                writeln!(html, "<p style=\"margin:0 0 8px\"><strong>{question}</strong><br>\n{answer}</p>");
        }
        let _ = writeln!(
            html,
            "<p style=\"margin:0 0 24px;color:#5b5b5b;font-size:13px\">{}</p>",
            escape(&section.footer)
        );
        if let Some(address) = section.address(voice) {
            let address = escape(&address);
            let _ =
                writeln!(html, "<p style=\"margin:0 0 24px\"><a href=\"{address}\">Open this alert</a></p>");
        }
    }
    let url = escape(&voice.public_url);
    let _ = writeln!(html, "<p><a href=\"{url}\">Open the dashboard</a></p>\n</div></body></html>");
    html
}

/// For elements and for attributes in double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Nothing that looks like key material, and nothing that acts but line ends.
pub(super) fn clean(text: &str) -> String {
    plain::lines(&redact(text, &[])).into_owned()
}

fn one_line(text: &str) -> String {
    plain::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Kind, Subject};
    use crate::domain::time::Timestamp;

    fn notice(kind: Kind, subject: Subject, detail: &str) -> Notice {
        Notice {
            id: "n".to_owned(),
            alert: "a".to_owned(),
            event: Event::Opened,
            kind,
            severity: kind.severity(),
            subject,
            account: None,
            rotation: None,
            detail: detail.to_owned(),
            opened_at: Timestamp(0),
            at: Timestamp(0),
        }
    }

    #[test]
    fn html_is_escaped_and_keys_are_cut() {
        let said = "it said <script>\"sk-or-v1-0123456789abcdef0123456789abcdef\"</script>\u{7}";
        let notice = notice(Kind::DestinationFailed, Subject::Destination("<b>x</b>".to_owned()), said);
        let letter = letter(&[notice], &LetterContext { public_url: "https://x/?a=\"b\"".to_owned() });
        assert!(!letter.html.contains("<script>") && !letter.html.contains("<b>"), "{}", letter.html);
        assert!(letter.html.contains("&lt;script&gt;") && letter.html.contains("a=&quot;b&quot;"));
        for part in [&letter.text, &letter.html] {
            assert!(!part.contains("0123456789abcdef"), "{part}");
            assert!(!part.contains('\u{7}'));
        }
    }

    #[test]
    fn thousands_of_alerts_make_one_short_letter() {
        let mut notices: Vec<Notice> = (0..5000)
            .map(|number| {
                notice(
                    Kind::KeyInvalid,
                    Subject::Other(format!("key number {number}")),
                    &"It is refused. ".repeat(20),
                )
            })
            .collect();
        notices[4321].severity = Severity::Critical;
        notices[4321].subject = Subject::Other("the one in use".to_owned());
        let letter = letter(&notices, &LetterContext { public_url: "https://keys.example.com".to_owned() });
        assert!(
            letter.subject.contains("the one in use") && letter.subject.ends_with("(+4999 more)"),
            "{}",
            letter.subject
        );
        assert!(letter.text.starts_with("CRITICAL: the one in use"), "the worst first");
        assert!(
            letter.text.contains("4980 more") && letter.text.contains("and 4880 others"),
            "{}",
            letter.text
        );
        assert!(
            letter.text.len() < 40_000 && letter.html.len() < 60_000,
            "{} {}",
            letter.text.len(),
            letter.html.len()
        );
    }

    #[test]
    fn html_fits_a_phone_and_says_its_colours() {
        let letter = trial(&LetterContext { public_url: "https://x".to_owned() });
        for part in [
            "width=device-width",
            "<title>[rekeyd] INFO test mail</title>",
            "background:#ffffff;color:#1b1b1b",
        ] {
            assert!(letter.html.contains(part), "{part}: {}", letter.html);
        }
    }

    #[test]
    fn commands_name_what_the_alert_is_about() {
        let rotation = Subject::Rotation("production".to_owned());
        for (kind, subject, command) in [
            (Kind::RotationParked, rotation, "`rekeyd why production`"),
            (Kind::AccountFrozen, Subject::Account("main".to_owned()), "`rekeyd accounts thaw main`"),
            (
                Kind::DestinationFailed,
                Subject::Mirror("table".to_owned()),
                "`rekeyd destinations check table`",
            ),
            (Kind::LastKeyRefused, Subject::Account("main".to_owned()), "`rekeyd rotations run NAME`"),
        ] {
            let letter = letter(&[notice(kind, subject, "")], &LetterContext { public_url: String::new() });
            assert!(letter.text.contains(command), "{}", letter.text);
        }
    }

    #[test]
    fn no_letter_shows_where_a_name_would_stand() {
        for kind in Kind::ALL {
            let notice = notice(*kind, Subject::Other("something".to_owned()), "It happened.");
            let letter = letter(&[notice], &LetterContext { public_url: String::new() });
            assert!(!letter.text.contains(['{', '}']), "{}", letter.text);
        }
    }
}
