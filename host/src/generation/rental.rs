//! What tenants do with bots: rent one by an offer, change what is theirs to choose, give it up; and what the operator does with
//! rented bots. Each is an edit like any other. Who is within a tenant's bounds learns nothing of others' bots.

use std::collections::BTreeSet;

use toml_edit::{DocumentMut, Item, Table};

use super::edit::{Edit, EditError, Editor, Reloaded, Who};
use super::ground::Ground;
use super::keys::{self, KeyError};
use super::lease::{Asked, BotChange, Lease};
use super::sheet::Labels;
use crate::access::Scope;
use crate::config::{Config, ConfigError};
use crate::document::nearest;
use crate::id::{BotName, OfferName, TenantName};
use crate::offer::{Schema, SettingFault, rental_name};

/// Who edits, and within what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// Who, and why.
    pub who: Who,
    /// Whose bots he may touch.
    pub scope: Scope,
    /// The generation that he has seen. None: whichever is in force.
    pub based_on: Option<u64>,
}

/// Why a bot was not rented, changed or given up. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RentalError {
    /// There is no such offer, or not for this tenant.
    #[error("there is no offer `{name}`{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    NoOffer {
        /// The name.
        name: OfferName,
        /// One that there is.
        near: Option<String>,
    },
    /// The tenant has as many as it may have.
    #[error("the tenant has {max} of the offer `{offer}` already, the most that one may have: give one up first")]
    TooMany {
        /// The offer.
        offer: OfferName,
        /// How many.
        max: u32,
    },
    /// Something is given that nobody asked for.
    #[error("`{key}` is not asked for; {}", if asked.is_empty() { "nothing is".to_owned() } else { format!("asked for: {}", asked.join(", ")) })]
    NotAsked {
        /// The key.
        key: String,
        /// What is asked for.
        asked: Vec<String>,
    },
    /// A secret is not given.
    #[error("the secret `{0}` is missing")]
    Missing(String),
    /// The bot has no connector of its own, or more than one.
    #[error("the bot has no connector of its own whose keys could be set")]
    NoConnector,
    /// Settings are not as the bot wants them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<SettingFault>),
    /// Another bot has the token or the address.
    #[error("the token or the address is in use by another bot: two cannot share it")]
    Taken,
    /// The bot was not rented.
    #[error("bot {0} was not rented by an offer: the operator decides about it")]
    NotRented(BotName),
    /// What would come of it is not good. Without places, which are the operator's business.
    #[error("{0}")]
    Refused(String),
    /// The file cannot be edited.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Editor {
    /// Rents a bot: writes its file, by which it starts. Returns its name.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn rent(
        &self,
        hand: Hand,
        (tenant, offer): (TenantName, OfferName),
        change: BotChange,
        schema: Schema,
    ) -> Result<(BotName, Reloaded), EditError> {
        let change = change.parted(&schema);
        let (named, name) = tokio::sync::oneshot::channel();
        let reloaded = self.plan(move |ground, _| {
            let (bot, text) = ground.rented(&hand.scope, (&tenant, &offer), &change)?;
            ground.judge(&hand.scope, &bot, &text, &schema)?;
            let reason = format!("{tenant} rented {bot} by the offer {offer}");
            // Whoever asked may have gone.
            drop(named.send(bot.clone()));
            Ok((hand.edit(bot, Some(text)), reason))
        });
        let reloaded = reloaded.await?;
        let bot = name.await.map_err(|_| super::GenerationError::Stopping)?;
        Ok((bot, reloaded))
    }

    /// Changes what is its tenant's to choose of a bot.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn change(
        &self,
        hand: Hand,
        bot: BotName,
        change: BotChange,
        schema: Schema,
    ) -> Result<Reloaded, EditError> {
        let change = change.parted(&schema);
        self.plan(move |ground, _| {
            let reason = format!("changed {bot}");
            if let Some(text) = ground.own_file(&hand.scope, &bot)? {
                let mut document = keys::document(text).map_err(RentalError::from)?;
                ground.asked(&document).check(&change)?;
                change.write(document.as_table_mut())?;
                let text = document.to_string();
                ground.judge(&hand.scope, &bot, &text, &schema)?;
                return Ok((hand.edit(bot, Some(text)), reason));
            }
            let text = ground.changed_in_config(&bot, &change)?;
            let config = Config::parse(&text, &ground.path)?;
            let faults =
                config.bots.get(&bot).map(|entry| schema.check(&entry.value.whole_settings())).unwrap_or_default();
            if !faults.is_empty() {
                return Err(RentalError::Settings(faults).into());
            }
            Ok((Edit { who: hand.who, based_on: hand.based_on, config: Some(text), ..Edit::default() }, reason))
        })
        .await
    }

    /// Gives a rented bot up: removes its file.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn give_up(&self, hand: Hand, bot: BotName) -> Result<Reloaded, EditError> {
        self.plan(move |ground, _| {
            let text = ground.own_file(&hand.scope, &bot)?;
            if text.and_then(|text| Labels::of(text).offer).is_none() {
                return Err(RentalError::NotRented(bot).into());
            }
            let reason = format!("gave {bot} up");
            Ok((hand.edit(bot, None), reason))
        })
        .await
    }

    /// Brings an offer, as it is now, to the bots that were rented by it. What their tenants chose stays. Returns which they are.
    ///
    /// # Errors
    ///
    /// [`EditError`].
    pub async fn apply_offer(
        &self,
        who: Who,
        based_on: Option<u64>,
        offer: OfferName,
    ) -> Result<(Vec<BotName>, Reloaded), EditError> {
        let (named, names) = tokio::sync::oneshot::channel();
        let reloaded = self.plan(move |ground, _| {
            let mut edit = Edit { who, based_on, ..Edit::default() };
            ground.lease(&offer, |lease| {
                let rented = ground.entries.iter().filter(|(_, text)| Labels::of(text).is_by(&offer));
                for (bot, text) in rented {
                    edit.entries.insert(bot.clone(), Some(lease.applied(text)?));
                }
                Ok(())
            })?;
            drop(named.send(edit.entries.keys().cloned().collect()));
            Ok((edit, format!("applied the offer {offer}")))
        });
        let reloaded = reloaded.await?;
        let bots = names.await.map_err(|_| super::GenerationError::Stopping)?;
        Ok((bots, reloaded))
    }
}

impl Hand {
    fn edit(self, bot: BotName, text: Option<String>) -> Edit {
        let mut edit = Edit { who: self.who, based_on: self.based_on, ..Edit::default() };
        edit.entries.insert(bot, text);
        edit
    }
}

impl Ground {
    /// Returns the name and the file of a bot that is rented now.
    fn rented(
        &self,
        scope: &Scope,
        (tenant, offer): (&TenantName, &OfferName),
        change: &BotChange,
    ) -> Result<(BotName, String), EditError> {
        self.lease(offer, |lease| {
            if !lease.offer.audience.includes(tenant) || !scope.covers(tenant) {
                return Err(RentalError::NoOffer { name: offer.clone(), near: None }.into());
            }
            let is_its = |text: &&String| {
                let labels = Labels::of(text);
                labels.is_by(offer) && labels.tenant == tenant.as_str()
            };
            let max = lease.offer.per_tenant_max.get();
            if self.entries.values().filter(is_its).count() >= max as usize {
                return Err(RentalError::TooMany { offer: offer.clone(), max }.into());
            }
            Asked::by(lease.offer).check(change)?;
            let bot = rental_name(tenant, offer, |name| self.known(name).is_ok());
            Ok((bot, lease.text(tenant, change)?))
        })
    }

    /// Has something made of an offer.
    fn lease<T>(
        &self,
        name: &OfferName,
        make: impl FnOnce(&Lease<'_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        let text = self.config()?;
        let config = Config::parse(&text, &self.path)?;
        let document = keys::document(&text)?;
        let written = document.get("offers").and_then(|offers| offers.get(name.as_str()));
        let (Some(offer), Some(written)) = (config.offers.get(name), written) else {
            let names: Vec<_> = config.offers.keys().map(OfferName::as_str).collect();
            let near = nearest(name.as_str(), &names).map(str::to_owned);
            return Err(RentalError::NoOffer { name: name.clone(), near }.into());
        };
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = path.parent().unwrap_or(std::path::Path::new("/"));
        make(&Lease { name, offer: &offer.value, written, directory })
    }

    /// Returns a bot's own file, if it has one.
    ///
    /// # Errors
    ///
    /// There is no such bot, or not within these bounds.
    pub(super) fn own_file(&self, scope: &Scope, bot: &BotName) -> Result<Option<&String>, EditError> {
        let owner = match self.entries.get(bot) {
            Some(text) => Labels::of(text).tenant,
            None => {
                self.known(bot)?;
                let config = Config::parse(&self.config()?, &self.path)?;
                config.bots.get(bot).map_or("default".to_owned(), |entry| entry.value.tenant.to_string())
            }
        };
        if scope.tenant().is_some_and(|tenant| tenant.as_str() != owner) {
            return Err(EditError::NoBot { name: bot.clone(), near: None });
        }
        Ok(self.entries.get(bot))
    }

    /// Judges the file of one bot beside all others.
    fn judge(&self, scope: &Scope, bot: &BotName, text: &str, schema: &Schema) -> Result<(), EditError> {
        let config = Config::parse(&self.config()?, &self.path)?;
        let path = config.host.bots_dir.join(format!("{bot}.toml"));
        let file = config.parse_bot(bot, text, &path).map_err(|error| match error {
            ConfigError::Mistakes(mistakes) if *scope != Scope::Host => {
                let said: Vec<_> = mistakes.into_iter().map(|mistake| mistake.message).collect();
                RentalError::Refused(said.join("; ")).into()
            }
            error => EditError::from(error),
        })?;
        let faults = schema.check(&file.entry.value.whole_settings());
        if !faults.is_empty() {
            return Err(RentalError::Settings(faults).into());
        }
        // Whoever was first keeps what both want, whatever their names.
        self.claims_of_others(&config, bot).admit(&file).map_err(|error| match scope {
            Scope::Host => error.into(),
            Scope::Tenant(_) => RentalError::Taken.into(),
        })
    }

    /// Returns what may be set in a bot's own file.
    pub(super) fn asked(&self, document: &DocumentMut) -> Asked {
        let labels = Labels::in_table(document.as_table());
        let offer = labels.offer.and_then(|offer| offer.parse().ok());
        let asked = offer.and_then(|offer: OfferName| self.lease(&offer, |lease| Ok(Asked::by(lease.offer))).ok());
        // Without an offer that says so: the secret of its own connector, which the platform may make anybody change.
        asked.unwrap_or_else(|| {
            let own = super::lease::own_connector(document.as_table());
            let own = own.and_then(|name| document.get("connectors")?.get(&name)?.as_table_like());
            let is_there = |key: &&str| own.is_some_and(|own| own.contains_key(key));
            let connector = ["token", "access_token"].iter().filter(|key| is_there(key)).map(|key| (*key).to_owned());
            Asked { connector: connector.collect(), secrets: BTreeSet::new() }
        })
    }

    /// Returns the configuration's text in which a bot without a file of its own is changed.
    fn changed_in_config(&self, bot: &BotName, change: &BotChange) -> Result<String, EditError> {
        let given = change.connector.keys().chain(change.secrets.keys()).next();
        if let Some(key) = given {
            return Err(RentalError::NotAsked { key: key.clone(), asked: Vec::new() }.into());
        }
        let mut document = keys::document(&self.config()?)?;
        let implicit = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        let bots = document.entry("bots").or_insert_with(implicit);
        let bots = bots.as_table_like_mut().ok_or_else(|| KeyError::NoTable("bots".to_owned()))?;
        let entry = bots.entry(bot.as_str()).or_insert_with(|| Item::Table(Table::new()));
        // One that is written on a line becomes a table of its own.
        let mut table = std::mem::take(entry).into_table().map_err(|_| KeyError::NoTable(format!("bots.{bot}")))?;
        change.write(&mut table)?;
        *entry = Item::Table(table);
        Ok(document.to_string())
    }
}

#[cfg(test)]
mod tests;
