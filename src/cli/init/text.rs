//! The configuration that `init` writes: short, since what it does not say has its default.

use super::answers::{Answers, GITHUB_TOKEN, Github, Mail, PROVISIONING_KEY, SMTP_PASSWORD};
use super::files::{ENCRYPTION_KEY, Folder};

const HEAD: &str = "\
# Written by `rekeyd init`. What is not said here has its default.
#
#   rekeyd config show        prints what is in effect
#   rekeyd config check       validates it
#   systemctl reload rekeyd   applies a change without dropping work
";

/// The text of `rekeyd.toml`.
pub(super) fn configuration(answers: &Answers, folder: &Folder) -> String {
    let mut lines = Vec::new();
    if let Some(url) = folder.database() {
        lines.extend([String::new(), "[database]".to_owned(), field("url", &url)]);
    }
    let key = field("keys", &folder.reference(ENCRYPTION_KEY));
    lines.extend([String::new(), "[encryption]".to_owned()]);
    lines.push(format!("{key}    # keep a copy elsewhere: without it the store cannot be read"));
    if let Some(mail) = &answers.mail {
        lines.extend(email(mail, folder));
    }
    lines.extend(account(answers, folder));
    if let Some(github) = &answers.github {
        lines.extend(rotation(answers));
        lines.extend(destination(answers, github, folder));
    }
    format!("{HEAD}{}\n", lines.join("\n"))
}

fn email(mail: &Mail, folder: &Folder) -> Vec<String> {
    let mut lines = vec![String::new(), "[email]".to_owned(), field("smtp", &mail.smtp)];
    if mail.is_local() {
        lines.push("tls = \"none\"    # it never leaves this machine".to_owned());
    }
    if mail.has_user() {
        lines.push(field("password", &folder.reference(SMTP_PASSWORD)));
    }
    let to = mail.to.iter().map(|to| quoted(to)).collect::<Vec<_>>().join(", ");
    lines.extend([field("from", &mail.from), format!("to = [{to}]")]);
    lines
}

fn account(answers: &Answers, folder: &Folder) -> Vec<String> {
    let mut lines = vec![String::new(), "[[accounts]]".to_owned()];
    lines.extend([field("name", "main"), field("provider", "openrouter")]);
    lines.push(field("provisioning_key", &folder.reference(PROVISIONING_KEY)));
    lines.extend(answers.base_url.as_ref().map(|url| field("base_url", url)));
    lines
}

fn rotation(answers: &Answers) -> Vec<String> {
    let schedule = field("schedule", &answers.schedule);
    vec![
        String::new(),
        "[[rotations]]".to_owned(),
        field("name", &answers.rotation),
        field("account", "main"),
        format!("{schedule}    # second, minute, hour, day, month, weekday; in UTC"),
        format!("destinations = [{}]", quoted(&destination_name(answers))),
    ]
}

fn destination(answers: &Answers, github: &Github, folder: &Folder) -> Vec<String> {
    let mut lines = vec![String::new(), "[[destinations]]".to_owned()];
    lines.extend([field("name", &destination_name(answers)), field("type", "github")]);
    lines.extend([field("repository", &github.repository), field("secret", &github.secret)]);
    lines.push(field("token", &folder.reference(GITHUB_TOKEN)));
    lines.extend(github.api_url.as_ref().map(|url| field("api_url", url)));
    lines
}

fn field(name: &str, value: &str) -> String {
    format!("{name} = {}", quoted(value))
}

fn destination_name(answers: &Answers) -> String {
    format!("github-{}", answers.rotation)
}

/// A TOML string with this content, whatever it is.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load::parse;

    fn answers(mail: Option<Mail>) -> Answers {
        Answers {
            provisioning_key: None,
            base_url: None,
            rotation: "production".to_owned(),
            schedule: "0 0 3 1 * *".to_owned(),
            github: Some(Github {
                repository: "acme/app".to_owned(),
                secret: "OPENROUTER_API_KEY".to_owned(),
                api_url: None,
                token: None,
            }),
            mail,
            admin: None,
        }
    }

    fn mail(smtp: &str) -> Mail {
        let to = vec!["ops@example.com".to_owned(), "two@example.com".to_owned()];
        Mail { smtp: smtp.to_owned(), password: None, from: "rekeyd <rekeyd@example.com>".to_owned(), to }
    }

    #[test]
    fn what_it_writes_is_valid_wherever_it_lies() {
        for config in ["/etc/rekeyd/rekeyd.toml", "/tmp/a folder/rekeyd.toml"] {
            for smtp in [
                None,
                Some("smtp://mailer@mail.example.com:587"),
                Some("smtps://mailer@mail.example.com"),
                Some("smtp://127.0.0.1:25"),
            ] {
                let config = Path::new(config);
                let text = configuration(&answers(smtp.map(mail)), &Folder::of(config));
                let loaded =
                    parse([(config, text.as_str())]).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!(loaded.settings.rotations.len(), 1);
                assert_eq!(loaded.settings.email.is_some(), smtp.is_some());
            }
        }
    }

    #[test]
    fn an_answer_cannot_break_out_of_its_string() {
        let text = quoted("a\"\nb = \"c");
        assert_eq!(format!("x = {text}").parse::<toml::Table>().unwrap().len(), 1);
    }
}
