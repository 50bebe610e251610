//! COMPOSITION ROOT: settings become concrete adapters, adapters become an engine. The only file that names
//! them all, and the only one that resolves secret references.

mod encryption;
mod leaks;
mod notifier;
mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::config::settings::{
    self as settings, DatabaseAddress, DestinationKind, GithubAuth, GithubScope, OnInvalid, Probe,
};
use crate::crypto::{Ring, SecretRef};
use crate::destination::command::{Command, CommandSpec};
use crate::destination::file::{File, FileSpec, Format};
use crate::destination::github::{Auth, Github, GithubSpec, Scope, Store as GithubStore, Visibility};
use crate::destination::postgres::{Postgres, PostgresSpec};
use crate::destination::vercel::{Vercel, VercelSpec};
use crate::destination::{Destination, Extent, Rollout};
use crate::domain::access::Access;
use crate::domain::actor::Actor;
use crate::domain::key::KeyKind;
use crate::domain::name::Name;
use crate::domain::outcome::Failure;
use crate::domain::rotation::{Level, Policy, SpecPolicy, Target};
use crate::domain::schedule::{Cadence, Rhythm, Schedule, Window};
use crate::domain::secret::Secret;
use crate::engine::commands::{DatabaseView, database_view};
use crate::engine::{
    Account, ConfiguredDestination, Engine, EngineError, LeakWatch, Notifier, Parts, Retention, Rotation,
    TestPolicy,
};
use crate::net::{Deadline, Http, HttpOptions};
use crate::provider::Issuer;
use crate::provider::openrouter::OpenRouter;
use crate::provider::tester::CatalogTester;
use crate::store::{Store, new_id};
use encryption::prove;
use leaks::leaks;
use notifier::notifier;

pub use encryption::ring;
pub use serve::serve;

/// An error that a person must mend in the configuration: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Misconfigured {
    /// What is wrong.
    pub text: String,
    /// The next move.
    pub hint: Option<String>,
}

impl Misconfigured {
    fn new(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { text: text.into(), hint: Some(hint.into()) }
    }
}

/// Opens the database of the configuration, without migrating it.
pub async fn open_store(settings: &Settings) -> anyhow::Result<Store> {
    let address = settings
        .database
        .url
        .resolve(settings.database.insecure_tls)
        .map_err(|error| Misconfigured { text: format!("[database] url: {error}"), hint: error.hint() })?;
    let url = match &address {
        DatabaseAddress::Sqlite(path) => format!("sqlite:{}", path.display()),
        DatabaseAddress::Postgres(url) => {
            crate::store::trusting(url.expose(), settings.network.ca_file.as_deref())
        }
    };
    Ok(Store::open(&url, settings.database.max_connections).await.map_err(EngineError::from)?)
}

/// The database of the configuration as it stands, without migrating it.
pub async fn database(settings: &Settings) -> anyhow::Result<DatabaseView> {
    Ok(database_view(&open_store(settings).await?).await?)
}

/// Asks the provider of the first account what kind of key this is, before it is written anywhere.
pub async fn kind_of(settings: &Settings, key: &Secret) -> anyhow::Result<Result<KeyKind, Failure>> {
    let entry = settings.accounts.first().ok_or_else(|| anyhow!("the configuration has no account"))?;
    let base = entry.base_url.as_ref().ok_or_else(|| anyhow!("account {} has no base_url", entry.name))?;
    let issuer = OpenRouter::new(http(settings)?, base.url().clone(), None, key.clone());
    let deadline = Deadline::after(settings.engine.call_timeout.to_std());
    Ok(issuer.whoami_provisioning(deadline).await.map(|reply| reply.value.kind))
}

/// The keys in the tables of an application's database, whose URL is behind this reference, as JSON.
pub async fn application_keys(settings: &Settings, url: &SecretRef) -> anyhow::Result<Secret> {
    let address = resolve(url, "the database to import from")?;
    let deadline = Deadline::after(settings.engine.call_timeout.to_std());
    let ca_file = settings.network.ca_file.as_deref();
    let read = crate::destination::postgres::stored_keys(&address, ca_file, deadline).await;
    Ok(read.map_err(|failure| Misconfigured { text: format!("{url}: {failure}"), hint: failure.hint })?)
}

/// The keys of another program that encrypted with Fernet.
pub fn foreign_ring(keys: &SecretRef) -> anyhow::Result<Ring> {
    let text = resolve(keys, "--fernet-key")?;
    let wrong = |error: crate::crypto::CryptoError| Misconfigured {
        text: format!("--fernet-key: {error}"),
        hint: error.hint().map(str::to_owned),
    };
    Ok(Ring::parse(&text).map_err(wrong)?)
}

/// Everything a command needs: the store migrated, the encryption key proved, adapters for all that the
/// configuration names. `actor` is who acts, for the audit trail.
pub async fn engine(settings: &Settings, actor: Actor) -> anyhow::Result<Engine> {
    engine_with(settings, actor, Arc::new(SystemClock::default())).await
}

/// The same with a clock of the caller's, for tests.
pub async fn engine_with(settings: &Settings, actor: Actor, clock: Arc<dyn Clock>) -> anyhow::Result<Engine> {
    let adapters = Adapters::new(settings)?;
    let store = open_store(settings).await?;
    store.migrate().await?;
    adapters.engine(settings, actor, clock, store).await
}

/// A new engine for new settings on the database and clock of the old one; nothing is changed when it fails.
pub async fn rebuilt(settings: &Settings, actor: Actor, old: &Engine) -> anyhow::Result<Engine> {
    let adapters = Adapters::new(settings)?;
    adapters.engine(settings, actor, Arc::clone(&old.parts.clock), old.store().clone()).await
}

/// What only the adapters can tell of the settings: which places their destinations really are.
pub fn check_places(settings: &Settings) -> anyhow::Result<()> {
    let http = http(settings)?;
    let (accounts, destinations) = (accounts(settings, &http)?, destinations(settings, &http)?);
    one_place_each(accounts.values(), destinations.values())
}

/// R20: no two destinations of the configuration are one place.
fn one_place_each<'a>(
    accounts: impl Iterator<Item = &'a Account>,
    destinations: impl Iterator<Item = &'a ConfiguredDestination>,
) -> anyhow::Result<()> {
    let copies = accounts.flat_map(|account| &account.provisioning_destinations);
    let all: Vec<(&ConfiguredDestination, Extent)> =
        destinations.chain(copies).map(|one| (one, one.adapter.extent())).collect();
    for (index, (one, extent)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..index].iter().find(|(_, other)| extent.overlaps(other)) {
            let (first, second) = (&other.target.name, &one.target.name);
            return Err(Misconfigured::new(
                format!(
                    "destinations {first} and {second} are one place ({}), or a mirror writes over one of them",
                    one.target.address
                ),
                "a place holds one key: remove one of the two",
            )
            .into());
        }
    }
    Ok(())
}

/// All that the settings name, before the database is touched.
struct Adapters {
    ring: Ring,
    tester: Arc<CatalogTester>,
    accounts: BTreeMap<String, Account>,
    destinations: BTreeMap<String, ConfiguredDestination>,
    rotations: BTreeMap<String, Rotation>,
    notifier: Notifier,
    leaks: Option<LeakWatch>,
}

impl Adapters {
    fn new(settings: &Settings) -> anyhow::Result<Self> {
        let ring = ring(settings)?;
        let http = http(settings)?;
        let tester = Arc::new(CatalogTester::new(http.clone(), given_endpoints(settings, &http)?));
        let accounts = accounts(settings, &http)?;
        let destinations = destinations(settings, &http)?;
        one_place_each(accounts.values(), destinations.values())?;
        let rotations = settings
            .rotations
            .iter()
            .map(|r| rotation(settings, r, &accounts, &destinations))
            .collect::<Result<_, _>>()?;
        let notifier = notifier(settings, &http)?;
        let leaks = leaks(settings, &http)?;
        Ok(Self { ring, tester, accounts, destinations, rotations, notifier, leaks })
    }

    async fn engine(
        self,
        settings: &Settings,
        actor: Actor,
        clock: Arc<dyn Clock>,
        store: Store,
    ) -> anyhow::Result<Engine> {
        let (names, fingerprints) = prove(&store, &self.ring, &settings.encryption.keys).await?;
        for place in self.destinations.values() {
            let is_anothers =
                |former: &String| self.destinations.values().any(|other| other.target.address == *former);
            if let Some(former) = place.adapter.former_address().filter(|former| !is_anothers(former)) {
                store.readdress(&former, &place.target.address).await?;
            }
        }
        let loaded_at = store.now().await?;
        let parts = Parts {
            store,
            loaded_at,
            ring: self.ring,
            fingerprints,
            names,
            clock,
            owner: format!("{}:{}:{}", actor.name, std::process::id(), new_id()),
            lease: settings.engine.lease,
            call_timeout: settings.engine.call_timeout,
            confirm_after: settings.tests.confirm_after,
            tester: self.tester,
            tests: test_policy(&settings.tests),
            retention: retention(settings.retention),
            accounts: self.accounts,
            rotations: self.rotations,
            destinations: self.destinations,
            notifier: self.notifier,
            access: access(settings)?,
            leaks: self.leaks,
            preferences: settings.preferences.iter().map(preference).collect(),
        };
        Ok(Engine::new(parts, actor))
    }
}

/// Who calls, and for how long they are known.
fn access(settings: &Settings) -> anyhow::Result<Access> {
    let token = settings.metrics.as_ref().map(|metrics| resolve(&metrics.token, "[metrics] token"));
    Ok(Access {
        public_url: settings.server.public_url.url().clone(),
        trusted_proxies: settings.server.trusted_proxies.clone(),
        session_idle: settings.auth.session_idle,
        session_max: settings.auth.session_max,
        metrics_token: token.transpose()?,
    })
}

/// The one HTTP client.
fn http(settings: &Settings) -> anyhow::Result<Http> {
    Http::new(&http_options(settings)).map_err(|error| anyhow!(error)).context("[network]")
}

fn http_options(settings: &Settings) -> HttpOptions {
    HttpOptions {
        ca_file: settings.network.ca_file.clone(),
        proxy: settings.network.proxy.as_ref().map(ToString::to_string),
        ..HttpOptions::default()
    }
}

/// The client for endpoints that persons name: whatever they name, it is no way into a private network.
fn given_endpoints(settings: &Settings, http: &Http) -> anyhow::Result<Http> {
    if settings.tests.allow_private_endpoints {
        return Ok(http.clone());
    }
    Http::public_only(&http_options(settings)).map_err(|error| anyhow!(error)).context("[network]")
}

fn resolve(reference: &SecretRef, field: &str) -> Result<Secret, Misconfigured> {
    reference.resolve().map_err(|error| {
        let hint = error.hint();
        Misconfigured { text: format!("{field}: {error}"), hint }
    })
}

fn accounts(settings: &Settings, http: &Http) -> anyhow::Result<BTreeMap<String, Account>> {
    settings.accounts.iter().map(|entry| account(settings, entry, http)).collect()
}

fn account(settings: &Settings, entry: &settings::Account, http: &Http) -> anyhow::Result<(String, Account)> {
    let name = entry.name.to_string();
    if entry.provider.as_str() != "openrouter" {
        return Err(Misconfigured::new(
            format!("account {name}: keys of provider {} cannot be issued by this version", entry.provider),
            "provider = \"openrouter\"",
        )
        .into());
    }
    let key = resolve(&entry.provisioning_key, &format!("account {name}: provisioning_key"))?;
    let base = entry.base_url.as_ref().ok_or_else(|| anyhow!("account {name} has no base_url"))?;
    let issuer: Arc<dyn Issuer> =
        Arc::new(OpenRouter::new(http.clone(), base.url().clone(), entry.workspace.clone(), key.clone()));
    let account = Account {
        name: name.clone(),
        provider: entry.provider.to_string(),
        issuer,
        workspace: entry.workspace.clone(),
        max_deletes_per_hour: entry.max_deletes_per_hour,
        inherit: entry.inherit,
        base_url: base.url().clone(),
        provisioning_key: key,
        provisioning_destinations: provisioning_destinations(settings, entry, http)?,
        credits_alert_below: entry.credits_alert_below,
    };
    Ok((name, account))
}

/// Where the provisioning key of an account goes: GitHub, for scripts, and nowhere else.
fn provisioning_destinations(
    settings: &Settings,
    entry: &settings::Account,
    http: &Http,
) -> anyhow::Result<Vec<ConfiguredDestination>> {
    let find = |name: &Name| {
        let found = settings.destinations.iter().find(|destination| destination.name == *name);
        found.filter(|it| it.holds == KeyKind::Provisioning && matches!(it.kind, DestinationKind::Github(_)))
    };
    let destinations = entry.provisioning_destinations.iter().map(|name| {
        let destination = find(name).ok_or_else(|| {
            Misconfigured::new(
                format!("account {}: destination {name} may not hold a provisioning key", entry.name),
                "type = \"github\" with holds = \"provisioning\"",
            )
        })?;
        place(settings, destination, http).map(|(_, place)| place)
    });
    destinations.collect()
}

fn preference(entry: &settings::Preference) -> (String, Vec<String>) {
    (entry.name.to_string(), entry.order.iter().map(ToString::to_string).collect())
}

fn retention(kept: settings::Retention) -> Retention {
    let settings::Retention { runs, audit, alerts, messages } = kept;
    Retention { runs, audit, alerts, messages }
}

fn test_policy(tests: &settings::Tests) -> TestPolicy {
    TestPolicy {
        rhythm: Rhythm {
            cron: Arc::new(tests.schedule.cron().clone()),
            zone: tests.timezone,
            spread: tests.spread,
        },
        interval: tests.interval(),
        concurrency: tests.concurrency,
        per_provider_concurrency: tests.per_provider_concurrency,
        host_spacing: tests.host_spacing,
        timeout: tests.timeout,
        history: tests.history,
    }
}

fn destinations(settings: &Settings, http: &Http) -> anyhow::Result<BTreeMap<String, ConfiguredDestination>> {
    let regular = settings.destinations.iter().filter(|entry| entry.holds == KeyKind::Regular);
    regular.map(|entry| place(settings, entry, http)).collect()
}

fn place(
    settings: &Settings,
    entry: &settings::Destination,
    http: &Http,
) -> anyhow::Result<(String, ConfiguredDestination)> {
    let name = entry.name.to_string();
    let (kind, adapter) = adapter(settings, &name, &entry.kind, http)?;
    let effective = adapter.rollout().is_some_and(Rollout::required);
    let target = Target {
        name: name.clone(),
        address: adapter.address(),
        required: entry.required,
        needs: if effective { Level::Effective } else { Level::Confirmed },
        on_drift: entry.on_drift,
    };
    Ok((name, ConfiguredDestination { target, kind, adapter }))
}

fn adapter(
    settings: &Settings,
    name: &str,
    kind: &DestinationKind,
    http: &Http,
) -> anyhow::Result<(&'static str, Arc<dyn Destination>)> {
    match kind {
        DestinationKind::Github(entry) => Ok(("github", Arc::new(github(name, entry, http)?))),
        DestinationKind::File(entry) => Ok(("file", Arc::new(File::new(file_spec(entry))))),
        DestinationKind::Vercel(entry) => Ok(("vercel", Arc::new(vercel(name, entry, http)?))),
        DestinationKind::Command(entry) => {
            let spec = CommandSpec {
                command: entry.command.clone(),
                timeout: entry.timeout,
                show_output: entry.show_output,
            };
            Ok(("command", Arc::new(Command::new(spec).map_err(|failure| misconfigured(name, failure))?)))
        }
        DestinationKind::Postgres(entry) => Ok(("postgres", Arc::new(postgres(settings, name, entry)?))),
    }
}

fn misconfigured(name: &str, failure: Failure) -> Misconfigured {
    Misconfigured { text: format!("destination {name}: {failure}"), hint: failure.hint }
}

fn file_spec(entry: &settings::File) -> FileSpec {
    let variable = entry.variable.clone().unwrap_or_default();
    FileSpec {
        path: entry.path.clone(),
        format: match entry.format {
            settings::FileFormat::Env => Format::Env { variable },
            settings::FileFormat::Raw => Format::Raw,
            settings::FileFormat::Json => Format::Json { variable },
        },
        mode: entry.mode,
        owner: entry.owner.clone(),
        group: entry.group.clone(),
        unsafe_folder: entry.unsafe_folder,
    }
}

fn vercel(name: &str, entry: &settings::Vercel, http: &Http) -> anyhow::Result<Vercel> {
    let spec = VercelSpec {
        project: entry.project.clone(),
        team: entry.team.clone(),
        variable: entry.variable.clone(),
        targets: entry.targets.iter().map(|target| target.as_str().to_owned()).collect(),
        git_branch: None,
        sensitive: entry.sensitive,
        redeploy: entry.redeploy,
        promote: entry.promote,
        token: resolve(&entry.token, &format!("destination {name}: token"))?,
        api_url: entry.api_url.as_str().to_owned(),
    };
    Ok(Vercel::new(spec, http).map_err(|failure| misconfigured(name, failure))?)
}

fn postgres(settings: &Settings, name: &str, entry: &settings::Postgres) -> anyhow::Result<Postgres> {
    let spec = PostgresSpec {
        name: name.to_owned(),
        url: resolve(&entry.url, &format!("destination {name}: url"))?,
        provider_name: entry.provider_name.clone(),
        key_number: i32::try_from(entry.key_number)?,
        mirror: entry.mirror,
        ca_file: settings.network.ca_file.clone(),
    };
    Ok(Postgres::new(spec).map_err(|failure| misconfigured(name, failure))?)
}

fn github(name: &str, entry: &settings::Github, http: &Http) -> anyhow::Result<Github> {
    let auth = match &entry.auth {
        GithubAuth::Token(token) => Auth::Token(resolve(token, &format!("destination {name}: token"))?),
        GithubAuth::App(app) => Auth::App {
            id: app.id,
            installation: app.installation,
            private_key: resolve(&app.private_key, &format!("destination {name}: app.private_key"))?,
        },
    };
    let spec = GithubSpec {
        scope: github_scope(&entry.scope),
        store: match entry.store {
            settings::GithubStore::Actions => GithubStore::Actions,
            settings::GithubStore::Dependabot => GithubStore::Dependabot,
            settings::GithubStore::Codespaces => GithubStore::Codespaces,
        },
        secret: entry.secret.clone(),
        api_url: entry.api_url.as_str().to_owned(),
        dispatch: entry.dispatch.clone(),
        auth,
    };
    Ok(Github::new(spec, http).map_err(|failure| misconfigured(name, failure))?)
}

fn github_scope(scope: &GithubScope) -> Scope {
    match scope.clone() {
        GithubScope::Repository { owner, repository, environment: None } => {
            Scope::Repository { owner, repo: repository }
        }
        GithubScope::Repository { owner, repository, environment: Some(environment) } => {
            Scope::Environment { owner, repo: repository, environment }
        }
        GithubScope::Organization { organization, visibility, repositories } => Scope::Organization {
            organization,
            visibility: visibility.map(|visibility| match visibility {
                settings::Visibility::All => Visibility::All,
                settings::Visibility::Private => Visibility::Private,
                settings::Visibility::Selected => Visibility::Selected,
            }),
            repositories,
        },
    }
}

fn rotation(
    settings: &Settings,
    entry: &settings::Rotation,
    accounts: &BTreeMap<String, Account>,
    destinations: &BTreeMap<String, ConfiguredDestination>,
) -> anyhow::Result<(String, Rotation)> {
    let name = entry.name.to_string();
    let targets = entry.destinations.iter().map(|destination| {
        let place = destinations.get(&destination.to_string());
        place
            .map(|place| place.target.clone())
            .ok_or_else(|| anyhow!("rotation {name}: no destination {destination}"))
    });
    let account = accounts.get(&entry.account.to_string());
    let policy = Policy {
        targets: targets.collect::<Result<_, _>>()?,
        grace: entry.grace,
        quiet: entry.quiet,
        observe: entry.observe,
        max_overlap: entry.max_overlap,
        max_exposure: entry.max_exposure,
        propagation: entry.propagation,
        settle: entry.settle,
        confirm_after: settings.tests.confirm_after,
        spec: SpecPolicy {
            limit: entry.key.limit,
            limit_reset: entry.key.limit_reset.map(|reset| reset.as_str().to_owned()),
            include_byok_in_limit: entry.key.include_byok_in_limit,
            workspace: account.and_then(|account| account.workspace.clone()),
        },
        inherit: account.map(|account| account.inherit).unwrap_or_default(),
        can_disable: account.is_none_or(|account| account.issuer.can_disable()),
        chat_model: match &entry.probe {
            Probe::Key => None,
            Probe::Chat(model) => Some(model.clone()),
        },
    };
    let rotation = Rotation {
        name: name.clone(),
        account: entry.account.to_string(),
        policy,
        schedule: schedule(entry),
        heal: entry.on_invalid == OnInvalid::Rotate,
        heal_cooldown: entry.heal_cooldown,
    };
    Ok((name, rotation))
}

fn schedule(entry: &settings::Rotation) -> Schedule {
    Schedule {
        cadence: match &entry.schedule {
            settings::Schedule::Cron { expr } => Cadence::Cron(Arc::new(expr.cron().clone())),
            settings::Schedule::Every(span) => Cadence::Every(*span),
        },
        zone: entry.timezone,
        window: entry.window.as_ref().map(|window| Window {
            start: window.start,
            end: window.end,
            days: window.days.clone(),
        }),
        max_age: entry.max_age,
        jitter: entry.jitter,
    }
}
