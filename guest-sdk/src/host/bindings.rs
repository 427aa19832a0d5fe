//! What `wit-bindgen` makes of the interface, and the way from its exports to the [`Bot`] trait.

use crate::Bot;
use exports::bothost::bot::guest;

#[cfg(not(feature = "http"))]
wit_bindgen::generate!({
    world: "bot",
    path: "../wit/v0.1",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "__export_guest",
    default_bindings_module: "bothost_guest::bindings",
});

#[cfg(feature = "http")]
wit_bindgen::generate!({
    world: "bot-with-http",
    path: "../wit/v0.1",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "__export_guest",
    default_bindings_module: "bothost_guest::bindings",
});

impl<B: Bot> guest::Guest for B {
    fn describe() -> guest::Manifest {
        B::describe().into()
    }

    fn init(reason: guest::StartReason) -> Result<(), guest::Failure> {
        B::init(reason.into()).map_err(Into::into)
    }

    fn handle(event: guest::Event) -> Result<(), guest::Failure> {
        B::handle(&event.into()).map_err(Into::into)
    }
}
