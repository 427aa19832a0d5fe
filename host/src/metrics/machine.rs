//! What is measured of the machine, of this process and of its control group. A series is there only while its source is: a zero
//! would be a measurement.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::grouped::{Measure, Words};

/// How the machine and this process are at one moment. None: this system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct VitalFigures {
    /// Memory of this process that is in use.
    pub process_resident_bytes: Option<u64>,
    /// Processor time of this process since the last reading, as a part of one core's: 2.0 is two cores.
    pub process_cpu_ratio: Option<f64>,
    /// Processor time of this process since it began.
    pub process_cpu_seconds: Option<f64>,
    /// Threads of this process.
    pub process_threads: Option<u64>,
    /// File descriptors that this process has open.
    pub process_open_files: Option<u64>,
    /// As many as it may have.
    pub process_open_files_limit: Option<u64>,
    /// When this process began, in seconds since the Unix epoch.
    pub process_start_time_seconds: Option<f64>,
    /// How busy all cores were since the last reading, 0 to 1.
    pub machine_cpu_ratio: Option<f64>,
    /// Memory of the machine that is in use and could not be given back at once.
    pub machine_memory_used_bytes: Option<u64>,
    /// Memory of the machine.
    pub machine_memory_total_bytes: Option<u64>,
    /// Load averages of 1, 5 and 15 minutes.
    pub machine_load: Option<[f64; 3]>,
    /// Room on the data directory's file system, for this user.
    pub disk_free_bytes: Option<u64>,
    /// Size of that file system.
    pub disk_total_bytes: Option<u64>,
    /// Files that it still has room for. None also where it has no such limit.
    pub disk_free_files: Option<u64>,
    /// Memory that this process can have at most: by the control group, or all of the machine's.
    pub memory_limit_bytes: Option<u64>,
    /// How much of that is in use, 0 to 1, by whatever counts against the same limit. Caches of files that were not read of late do
    /// not count: the kernel gives them up first.
    pub memory_used_ratio: Option<f64>,
    /// Memory of this process' control group, with all its caches.
    pub cgroup_memory_bytes: Option<u64>,
    /// Cores that the control group may use, in parts.
    pub cgroup_cpu_limit_cores: Option<f64>,
    /// How long the control group was held back at that limit, all together.
    pub cgroup_cpu_throttled_seconds: Option<f64>,
    /// Part of the last ten seconds in which something waited for the processor, 0 to 1.
    pub pressure_cpu: Option<f64>,
    /// As above, for memory.
    pub pressure_memory: Option<f64>,
    /// As above, for input and output.
    pub pressure_io: Option<f64>,
}

/// A name, a help text, what kind it is and where it is read.
type Described = (&'static str, &'static str, MetricType, fn(&VitalFigures) -> Option<f64>);

const GAUGE: MetricType = MetricType::Gauge;

/// The series without labels.
const SERIES: [Described; 18] = [
    ("process_resident_bytes", "Memory of this process", GAUGE, |vitals| number(vitals.process_resident_bytes)),
    ("process_cpu_ratio", "Processor time of this process, as a part of one core's", GAUGE, |vitals| {
        vitals.process_cpu_ratio
    }),
    ("process_cpu_seconds", "Processor time of this process", MetricType::Counter, |vitals| vitals.process_cpu_seconds),
    ("process_threads", "Threads of this process", GAUGE, |vitals| number(vitals.process_threads)),
    ("process_open_files", "File descriptors that are open", GAUGE, |vitals| number(vitals.process_open_files)),
    ("process_open_files_limit", "File descriptors that may be open", GAUGE, |vitals| {
        number(vitals.process_open_files_limit)
    }),
    ("process_start_time_seconds", "When this process began, since the Unix epoch", GAUGE, |vitals| {
        vitals.process_start_time_seconds
    }),
    ("machine_cpu_ratio", "How busy all cores of the machine are", GAUGE, |vitals| vitals.machine_cpu_ratio),
    ("machine_memory_used_bytes", "Memory of the machine that is in use", GAUGE, |vitals| {
        number(vitals.machine_memory_used_bytes)
    }),
    ("machine_memory_total_bytes", "Memory of the machine", GAUGE, |vitals| number(vitals.machine_memory_total_bytes)),
    ("disk_free_bytes", "Room on the data directory's file system", GAUGE, |vitals| number(vitals.disk_free_bytes)),
    ("disk_total_bytes", "Size of the data directory's file system", GAUGE, |vitals| number(vitals.disk_total_bytes)),
    ("disk_free_files", "Files that the data directory's file system has room for", GAUGE, |vitals| {
        number(vitals.disk_free_files)
    }),
    ("memory_limit_bytes", "Memory that this process can have at most", GAUGE, |vitals| {
        number(vitals.memory_limit_bytes)
    }),
    ("memory_used_ratio", "How much of that is in use", GAUGE, |vitals| vitals.memory_used_ratio),
    ("cgroup_memory_bytes", "Memory of the control group", GAUGE, |vitals| number(vitals.cgroup_memory_bytes)),
    ("cgroup_cpu_limit_cores", "Cores that the control group may use", GAUGE, |vitals| vitals.cgroup_cpu_limit_cores),
    (
        "cgroup_cpu_throttled_seconds",
        "How long the control group was held back at that limit",
        MetricType::Counter,
        |vitals| vitals.cgroup_cpu_throttled_seconds,
    ),
];

/// Exact up to 2^53, which is more bytes than a machine has.
fn number(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

#[derive(Debug)]
pub(super) struct MachineMetrics {
    /// In the order of [`SERIES`].
    series: Vec<Perhaps>,
    load: Family<Words<1>, Measure>,
    pressure: Family<Words<1>, Measure>,
}

impl MachineMetrics {
    pub(super) fn register(to: &mut Registry) -> Self {
        let series = SERIES.map(|(name, help, kind, _)| {
            let perhaps = Perhaps::new(kind);
            to.register(name, help, perhaps.clone());
            perhaps
        });
        let (load, pressure) = (Family::default(), Family::default());
        to.register("machine_load", "Load averages of the machine", load.clone());
        let help = "Part of the last ten seconds in which something waited for this resource";
        to.register("pressure_ratio", help, pressure.clone());
        Self { series: series.into(), load, pressure }
    }

    fn set(&self, figures: &VitalFigures) {
        for (perhaps, (.., read)) in self.series.iter().zip(SERIES) {
            perhaps.set(read(figures));
        }
        for (index, minutes) in ["1", "5", "15"].into_iter().enumerate() {
            set_or_remove(&self.load, [("minutes", minutes)], figures.machine_load.map(|load| load[index]));
        }
        for (resource, pressure) in
            [("cpu", figures.pressure_cpu), ("memory", figures.pressure_memory), ("io", figures.pressure_io)]
        {
            set_or_remove(&self.pressure, [("resource", resource)], pressure);
        }
    }
}

fn set_or_remove(family: &Family<Words<1>, Measure>, labels: Words<1>, value: Option<f64>) {
    match value {
        Some(value) => drop(family.get_or_create(&labels).set(value)),
        None => drop(family.remove(&labels)),
    }
}

impl Metrics {
    /// Says how the machine and this process are.
    pub fn vitals(&self, figures: &VitalFigures) {
        self.own.machine.set(figures);
    }
}

/// A series without labels that is there only while it has a value.
#[derive(Debug, Clone)]
struct Perhaps {
    kind: MetricType,
    /// The bits of a number; of none: there is no value.
    value: Arc<AtomicU64>,
}

impl Perhaps {
    fn new(kind: MetricType) -> Self {
        Self { kind, value: Arc::new(AtomicU64::new(f64::NAN.to_bits())) }
    }

    fn set(&self, value: Option<f64>) {
        self.value.store(value.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<f64> {
        Some(f64::from_bits(self.value.load(Ordering::Relaxed))).filter(|value| !value.is_nan())
    }
}

impl EncodeMetric for Perhaps {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match (self.get(), self.kind) {
            (None, _) => Ok(()),
            (Some(value), MetricType::Counter) => encoder.encode_counter::<NoLabelSet, f64, u64>(&value, None),
            (Some(value), _) => encoder.encode_gauge(&value),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }

    fn is_empty(&self) -> bool {
        self.get().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_say_has_no_series() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("bothost_memory_limit_bytes"));
        let figures = VitalFigures {
            memory_limit_bytes: Some(64 << 30),
            process_cpu_seconds: Some(1.5),
            machine_load: Some([0.5, 0.25, 0.0]),
            pressure_io: Some(0.125),
            ..VitalFigures::default()
        };
        metrics.vitals(&figures);
        let text = metrics.render();
        for line in [
            "bothost_memory_limit_bytes 68719476736.0",
            "bothost_process_cpu_seconds_total 1.5",
            r#"bothost_machine_load{minutes="15"} 0.0"#,
            r#"bothost_pressure_ratio{resource="io"} 0.125"#,
        ] {
            assert!(text.lines().any(|given| given == line), "{line}\nnot in\n{text}");
        }
        assert!(!text.contains(r#"resource="cpu""#) && !text.contains("bothost_process_threads"), "{text}");
        metrics.vitals(&VitalFigures::default());
        let text = metrics.render();
        assert!(!text.contains("bothost_memory_limit_bytes") && !text.contains("minutes="), "{text}");
    }
}
