//! `host inspect FILE.wasm`: what a component is and what it asks for.

use std::path::{Path, PathBuf};

use anyhow::Context;
use bothost::limits::Limits;
use bothost::sandbox::{Component, GuestManifest, SERVED_VERSION};
use bothost::supervisor::Workbench;
use bothost::units::ByteSize;
use bothost::watcher::read_component;
use serde_json::json;

use super::progress::Progress;
use super::{Failure, tell};

/// The most that is read of the file; the configuration's own limit is not known here.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Tells what a component is: its manifest, its interface, what it would have to be granted
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let file = self.file.display().to_string();
        let progress = Progress::begin("compiling", self.json);
        let (component, manifest, len) = runtime.block_on(examine(&self.file)).with_context(|| format!("{file} is no bot"))?;
        drop(progress);
        if self.json {
            tell(as_json(&component, &manifest, len));
        } else {
            tell(as_text(&component, &manifest, len));
        }
        Ok(())
    }
}

type Examined = (std::sync::Arc<Component>, GuestManifest, u64);

async fn examine(file: &Path) -> anyhow::Result<Examined> {
    let bytes = read_component(file, FILE_BYTES_MAX)?;
    let len = bytes.len() as u64;
    let bench = Workbench::open(Limits::default()).context("cannot examine it")?;
    let (component, manifest) = bench.examine(bytes).await?;
    Ok((component, manifest, len))
}

fn grants(component: &Component) -> Vec<String> {
    component.http_import().map(|import| format!("http = [\"api.example.com\"]   # it imports {import}")).into_iter().collect()
}

fn as_json(component: &Component, manifest: &GuestManifest, len: u64) -> serde_json::Value {
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "summary": manifest.summary,
        "commands": manifest.commands.iter().map(|command| json!({
            "name": command.name, "summary": command.summary, "usage": command.usage,
        })).collect::<Vec<_>>(),
        "wants": manifest.wants.iter().map(|class| class.as_str()).collect::<Vec<_>>(),
        "settings_schema": manifest.settings_schema,
        "interface": SERVED_VERSION,
        "size_bytes": len,
        "sha256": component.hash().to_string(),
        "imports": component.imports(),
        "exports": component.exports(),
        "grants": grants(component),
    })
}

fn as_text(component: &Component, manifest: &GuestManifest, len: u64) -> String {
    let mut lines = vec![
        format!("{} {}: {}", manifest.name, manifest.version, manifest.summary),
        format!("interface  bothost:bot@{}", SERVED_VERSION),
        format!("size       {} ({len} bytes)", approximate(len)),
        format!("sha256     {}", component.hash()),
    ];
    for command in &manifest.commands {
        let call = format!("!{} {}", command.name, command.usage);
        lines.push(format!("command    {}  {}", call.trim_end(), command.summary));
    }
    let wants: Vec<_> = manifest.wants.iter().map(|class| class.as_str()).collect();
    lines.push(format!("wants      {}", if wants.is_empty() { "every event".to_owned() } else { wants.join(", ") }));
    let asked = grants(component);
    if asked.is_empty() {
        lines.push("grants     none needed".to_owned());
    }
    lines.extend(asked.into_iter().map(|line| format!("grants     {line}")));
    lines.extend(component.imports().iter().map(|import| format!("import     {import}")));
    lines.extend(component.exports().iter().map(|export| format!("export     {export}")));
    let text = lines.join("\n");
    // The manifest is the component's own text, and this is a terminal.
    text.split('\n').map(bothost::logs::escape).collect::<Vec<_>>().join("\n")
}

fn approximate(len: u64) -> ByteSize {
    ByteSize(if len >= 1 << 20 { len >> 20 << 20 } else { (len >> 10 << 10).max(len.min(1 << 10)) })
}
