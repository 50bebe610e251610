//! A browser without a script: it keeps its cookie, follows what it is sent to, and fills in forms with their hidden fields.

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

use crate::support::World;
use crate::support::wait::log;

/// One person's.
pub struct Browser {
    client: Client,
    base: String,
    cookie: Option<String>,
    /// The page that is shown.
    page: Shown,
}

/// A page as it came.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub status: u16,
    /// Path and query.
    pub path: String,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Shown {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Everything that a link leads to, without the part of a page.
    pub fn links(&self) -> Vec<String> {
        let all = attributes(&self.body, "href");
        all.map(|link| link.split('#').next().unwrap_or_default().to_owned())
            .filter(|it| !it.is_empty())
            .collect()
    }

    /// Everywhere that a form leads to.
    pub fn forms(&self) -> Vec<String> {
        attributes(&self.body, "action").collect()
    }
}

/// Values of an attribute, read as a browser does.
fn attributes<'t>(html: &'t str, name: &str) -> impl Iterator<Item = String> + 't {
    let start = format!("{name}=\"");
    let values = html.split(start.as_str()).skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
    values.map(|value| value.replace("&#38;", "&").replace("&amp;", "&")).collect::<Vec<_>>().into_iter()
}

impl Browser {
    /// At the newest daemon of a world.
    pub fn of_newest(world: &World) -> Self {
        let log = log(world);
        let address = log.rsplit("http://127").next().unwrap();
        let address = address.split(|c: char| !matches!(c, '.' | ':') && !c.is_ascii_digit()).next().unwrap();
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { client, base: format!("http://127{address}"), cookie: None, page: Shown::default() }
    }

    pub async fn get(&mut self, path: &str) -> Shown {
        let request = self.client.get(format!("{}{path}", self.base)).header("accept", "text/html");
        self.shown(path, request).await
    }

    /// Sends fields, with more headers.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Shown {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.post(format!("{}{path}", self.base)).header("accept", "text/html");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.shown(path, request).await
    }

    /// Follows what it is sent to, as a browser does: with a GET.
    async fn shown(&mut self, path: &str, request: RequestBuilder) -> Shown {
        let (mut path, mut request) = (path.to_owned(), request);
        loop {
            if let Some(cookie) = &self.cookie {
                request = request.header("cookie", cookie);
            }
            let response = request.send().await.unwrap();
            let headers = response.headers().iter();
            let headers: Vec<(String, String)> =
                headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            let status = response.status().as_u16();
            let page = Shown { status, path: path.clone(), body: response.text().await.unwrap(), headers };
            if !page.header("set-cookie").is_empty() {
                assert!(page.header("set-cookie").contains("; Path=/"), "{page:?}");
                self.cookie = page.header("set-cookie").split(';').next().map(str::to_owned);
            }
            if status != 303 {
                self.page = Shown { path: path.split('?').next().unwrap().to_owned(), ..page };
                return self.page.clone();
            }
            page.header("location").clone_into(&mut path);
            request = self.client.get(format!("{}{path}", self.base)).header("accept", "text/html");
        }
    }

    /// Sends the first form of the shown page whose address ends so, with its hidden fields and these.
    pub async fn submit(&mut self, action: &str, fields: &[(&str, &str)]) -> Shown {
        let (path, mut all) = self.form(action);
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let all: Vec<(&str, &str)> =
            all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post(&path, &all, &[]).await
    }

    /// Address and hidden fields of a form of the shown page.
    fn form(&self, action: &str) -> (String, Vec<(String, String)>) {
        let forms = self.page.body.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap());
        let path = |form: &str| attributes(form, "action").next().unwrap_or_default();
        let form = forms.into_iter().find(|form| path(form).ends_with(action));
        let form =
            form.unwrap_or_else(|| panic!("no form {action} on {}: {}", self.page.path, self.page.body));
        let hidden = form.split("<input type=\"hidden\"").skip(1).map(|field| {
            let value = |name| attributes(field, name).next().unwrap();
            (value("name"), value("value"))
        });
        (path(form), hidden.collect())
    }

    /// Where the link with these words leads.
    pub fn link_to(&self, words: &str) -> String {
        let links = self.page.body.split("<a ").skip(1);
        let mut with_words = links.filter(|link| link.split("</a>").next().unwrap().contains(words));
        let link = with_words.next().unwrap_or_else(|| panic!("no link to {words}"));
        attributes(link, "href").next().unwrap()
    }

    /// Logs in, and comes back to where it wanted to go.
    pub async fn log_in(&mut self, email: &str, password: &str, to: &str) {
        let login = self.get(to).await;
        assert!(login.path.ends_with("/login"), "{login:?}");
        let page = self.submit("/login", &[("email", email), ("password", password)]).await;
        assert_eq!((page.status, page.path.as_str()), (200, to), "{}", page.body);
    }

    /// What only a page of ours knows.
    pub fn token(&self) -> String {
        let (_, hidden) = self.form("/logout");
        hidden.into_iter().find(|(name, _)| name == "csrf_token").unwrap().1
    }
}
