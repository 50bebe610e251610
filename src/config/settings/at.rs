//! Reading the mirror field by field: every reader reports what is wrong, with its place, and goes on.
//!
//! A section reads all of its fields before it gives up for want of one, so that all problems come out.

use std::cell::RefCell;
use std::path::PathBuf;

use super::origin::{Origins, Purpose};
use super::values::{BadValue, BaseUrl, CronExpr, parse_span, parse_zone};
use crate::config::document::{Document, Step};
use crate::config::file::{CronText, DurationText, NameText, ReferenceText};
use crate::config::nearest::suggestion;
use crate::config::problem::Problem;
use crate::crypto::SecretRef;
use crate::domain::name::Name;
use crate::domain::secret::looks_like_key;
use crate::domain::time::Span;

/// It could not be read, and a problem says why.
#[derive(Debug)]
pub(super) struct Reported;

/// What a reader gives.
pub(super) type Read<T> = Result<T, Reported>;

/// What the readers share.
pub(super) struct Reading<'d> {
    document: &'d Document,
    problems: RefCell<Vec<Problem>>,
    origins: RefCell<Origins>,
}

impl<'d> Reading<'d> {
    pub fn new(document: &'d Document) -> Self {
        Self { document, problems: RefCell::default(), origins: RefCell::default() }
    }

    /// The root of the file.
    pub fn root(&self) -> At<'_> {
        At { reading: self, path: Vec::new() }
    }

    /// What came out.
    pub fn finish(self) -> (Vec<Problem>, Origins) {
        (self.problems.into_inner(), self.origins.into_inner())
    }
}

/// One field, table or item.
pub(super) struct At<'r> {
    reading: &'r Reading<'r>,
    path: Vec<Step>,
}

impl At<'_> {
    /// A field of this table.
    pub fn field(&self, name: &str) -> Self {
        self.step(Step::Field(name.to_owned()))
    }

    /// An item of this array.
    pub fn item(&self, index: usize) -> Self {
        self.step(Step::Item(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { reading: self.reading, path }
    }

    /// That of two fields which stands in a file, the first before the second: where a contradiction between
    /// them is reported, since a default is nobody's mistake.
    pub fn given(&self, first: &str, second: &str) -> Self {
        let first = self.field(first);
        let stands = self.reading.document.find(&first.path).is_some();
        if stands { first } else { self.field(second) }
    }

    /// Reports a problem here.
    pub fn problem(&self, message: impl Into<String>, hint: impl Into<String>) -> Reported {
        self.report(BadValue::new(message, hint))
    }

    fn report(&self, bad: BadValue) -> Reported {
        let problem = self.reading.document.problem(&self.path, bad.message, bad.hint);
        self.reading.problems.borrow_mut().push(problem);
        Reported
    }

    /// `file:line`, for hints that point elsewhere.
    pub fn whereabouts(&self) -> String {
        let place = self.place();
        let line = place.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{}{line}", place.file.display())
    }

    /// A problem here, still without its message.
    fn place(&self) -> Problem {
        self.reading.document.problem(&self.path, "", None)
    }

    /// Reports the error of a value, if it is one.
    pub fn value<T>(&self, value: Result<T, BadValue>) -> Read<T> {
        value.map_err(|bad| self.report(bad))
    }

    /// A span that may be zero.
    pub fn span(&self, text: &DurationText) -> Read<Span> {
        self.value(parse_span(text.as_str()))
    }

    /// A span that may not.
    pub fn positive_span(&self, text: &DurationText) -> Read<Span> {
        let span = self.span(text)?;
        if span <= Span::ZERO {
            return Err(self.problem("it cannot be zero", "write how long, such as \"10s\""));
        }
        Ok(span)
    }

    /// A schedule.
    pub fn cron(&self, text: &CronText) -> Read<CronExpr> {
        self.value(CronExpr::parse(text.as_str()))
    }

    /// A time zone.
    pub fn zone(&self, text: &str) -> Read<chrono_tz::Tz> {
        self.value(parse_zone(text))
    }

    /// A name.
    pub fn name(&self, text: &NameText) -> Read<Name> {
        const HINT: &str = "lowercase letters, digits and hyphens, such as \"github-production\"";
        if looks_like_key(text.as_str()) {
            return Err(self.problem("this looks like a key, not like a name", HINT));
        }
        self.value(Name::parse(text.as_str()).map_err(|error| BadValue::new(error.to_string(), HINT)))
    }

    /// The name of something that is defined elsewhere.
    pub fn known(&self, text: &NameText, what: &str, all: &[&str]) -> Read<Name> {
        if all.contains(&text.as_str()) {
            // Where it is defined with a bad name, that is reported there.
            return Name::parse(text.as_str()).map_err(|_| Reported);
        }
        let hint = suggestion(text.as_str(), all.iter().copied(), &format!("{what}s"));
        Err(self.problem(format!("there is no {what} {:?}", text.as_str()), hint))
    }

    /// A secret reference. The text is never repeated when it is none.
    pub fn reference(&self, text: &ReferenceText, purpose: Purpose) -> Read<SecretRef> {
        const HINT: &str = "put the secret into a credential or file, and its reference here";
        let parsed = SecretRef::parse(text.as_str()).map_err(|error| BadValue::new(error.to_string(), HINT));
        let reference = self.value(parsed)?;
        self.keep_reference(&reference, purpose);
        Ok(reference)
    }

    /// The same for a field that may be left out.
    pub fn optional_reference(
        &self,
        text: Option<&ReferenceText>,
        purpose: Purpose,
    ) -> Read<Option<SecretRef>> {
        text.map(|text| self.reference(text, purpose)).transpose()
    }

    /// Keeps a reference for [`super::Settings::check_references`].
    pub fn keep_reference(&self, reference: &SecretRef, purpose: Purpose) {
        self.reading.origins.borrow_mut().add_reference(self.place(), reference.clone(), purpose);
    }

    /// Keeps the name of a provider for [`super::Settings::check_providers`].
    pub fn keep_provider(&self, name: &Name) {
        self.reading.origins.borrow_mut().add_provider(self.place(), name.clone());
    }

    /// Keeps the path of the extra authorities for [`super::Settings::check_references`].
    pub fn keep_ca_file(&self, path: PathBuf) {
        self.reading.origins.borrow_mut().add_ca_file(self.place(), path);
    }

    /// The base of an API that credentials are sent to.
    pub fn api_url(&self, text: &str) -> Read<BaseUrl> {
        self.value(BaseUrl::parse_secure(text))
    }

    /// A text with something in it, on one line.
    pub fn word(&self, text: &str) -> Read<String> {
        if text.is_empty() {
            return Err(self.problem("it cannot be empty", "write a name"));
        }
        if text.trim() != text || text.contains(char::is_control) {
            return Err(self
                .problem("there are blanks around it or control characters in it", "write the plain name"));
        }
        Ok(text.to_owned())
    }

    /// The same for a field that may be left out.
    pub fn optional_word(&self, text: Option<&String>) -> Read<Option<String>> {
        text.map(|text| self.word(text)).transpose()
    }

    /// Mailboxes.
    pub fn mailboxes(&self, texts: &[String]) -> Read<Vec<String>> {
        self.each(texts, |text, at| at.mailbox(text))
    }

    /// A mailbox.
    pub fn mailbox(&self, text: &str) -> Read<String> {
        if text.parse::<lettre::message::Mailbox>().is_err() {
            return Err(self.problem(
                format!("{text:?} is not a mail address"),
                "write \"user@example.com\" or \"Name <user@example.com>\"",
            ));
        }
        Ok(text.to_owned())
    }

    /// Every item of this array; all of them are read, whatever comes of the first.
    pub fn each<F, T>(&self, items: &[F], read: impl Fn(&F, &At<'_>) -> Read<T>) -> Read<Vec<T>> {
        let results = items.iter().enumerate().map(|(index, item)| read(item, &self.item(index)));
        results.collect::<Vec<_>>().into_iter().collect()
    }
}
