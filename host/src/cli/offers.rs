//! `host offers`: what tenants may rent, and bringing an offer as it is now to who has rented by it.

use bothost::admin::OfferView;
use bothost::id::OfferName;
use bothost::logs::escape;
use clap::Subcommand;

use super::config::{Who, edit};
use super::remote::{Remote, read};
use super::table::{Table, terminal_width};
use super::{Failure, tell};

/// Where they are.
const PATH: &str = "/api/v1/offers";

/// What tenants may rent: lists and shows offers, and brings one as it is now to the bots that were rented by it
#[derive(Debug, clap::Args)]
pub(super) struct Offers {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists them
    List,
    /// Tells all that there is to know of one
    Show {
        /// The offer
        offer: OfferName,
    },
    /// Brings one as it is now to the bots that were rented by it: grants, limits, connector. What tenants chose stays
    Apply {
        /// The offer
        offer: OfferName,
        #[command(flatten)]
        who: Who,
    },
}

impl Offers {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::List => {
                let answer = host.get(PATH)?;
                if json { tell(answer) } else { list(&read::<Vec<OfferView>>(answer)?) }
                Ok(())
            }
            Act::Show { offer } => {
                let all = host.get(PATH)?;
                let one = all.as_array().into_iter().flatten().find(|one| one["name"] == offer.as_str()).cloned();
                let missing = || anyhow::anyhow!("there is no offer `{offer}`; `host offers list` lists them");
                let one = one.ok_or_else(missing)?;
                if json { tell(one) } else { show(&read(one)?) }
                Ok(())
            }
            Act::Apply { offer, who } => edit(&host, json, &who.address(&format!("{PATH}/{offer}/apply")), None),
        }
    }
}

fn audience(offer: &OfferView) -> String {
    offer.tenants.as_ref().map_or_else(|| "everybody".to_owned(), |tenants| tenants.join(", "))
}

fn list(offers: &[OfferView]) {
    if offers.is_empty() {
        return tell("nothing is offered; `[offers.NAME]` in the configuration offers a bot");
    }
    let mut table = Table::new(["OFFER", "TITLE", "COMPONENT", "CONNECTOR", "TO", "BOTS", "UNAVAILABLE"]);
    for offer in offers {
        table.push([
            &offer.name,
            &offer.title,
            offer.component.as_deref().unwrap_or(""),
            offer.connector.as_deref().unwrap_or(""),
            &audience(offer),
            &offer.bots.len().to_string(),
            offer.unavailable.as_deref().unwrap_or(""),
        ]);
    }
    tell(table.render(terminal_width()));
}

fn show(offer: &OfferView) {
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            tell(format_args!("{name:<12} {}", escape(value)));
        }
    };
    line("offer", &offer.name);
    line("title", &offer.title);
    line("", offer.title_zh.as_deref().unwrap_or(""));
    line("summary", &offer.summary);
    line("", offer.summary_zh.as_deref().unwrap_or(""));
    line("component", offer.component.as_deref().unwrap_or(""));
    line("connector", offer.connector.as_deref().unwrap_or(""));
    line("asks for", &offer.ask.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", "));
    line("secrets", &offer.ask_secrets.join(", "));
    line("settings", &offer.form.iter().map(|field| field.title.as_str()).collect::<Vec<_>>().join(", "));
    line("to", &audience(offer));
    line("each", &format!("{} at most", offer.per_tenant_max));
    line("bots", &offer.bots.join(", "));
    line("unavailable", offer.unavailable.as_deref().unwrap_or(""));
}
