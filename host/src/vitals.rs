//! How the machine and this process are: processor, memory, disk, descriptors, load, the limits and the pressure of the control
//! group; and whether what the operator named for probing answers. Measures, and tells nobody but the metrics.

mod config;

pub use self::config::VitalsConfig;
