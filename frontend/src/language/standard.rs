//! The standard library: source files of the language, compiled into the program.

/// Name and text of each file. What they define is visible in every program.
pub const FILES: &[(&str, &str)] = &[
    ("activations.cyg", include_str!("../../std/activations.cyg")),
    ("attention.cyg", include_str!("../../std/attention.cyg")),
    ("convolution.cyg", include_str!("../../std/convolution.cyg")),
    ("augmentation.cyg", include_str!("../../std/augmentation.cyg")),
    ("layers.cyg", include_str!("../../std/layers.cyg")),
    ("losses.cyg", include_str!("../../std/losses.cyg")),
    ("metrics.cyg", include_str!("../../std/metrics.cyg")),
    ("movement.cyg", include_str!("../../std/movement.cyg")),
    ("optimizers.cyg", include_str!("../../std/optimizers.cyg")),
    ("random.cyg", include_str!("../../std/random.cyg")),
    ("recurrent.cyg", include_str!("../../std/recurrent.cyg")),
    ("reductions.cyg", include_str!("../../std/reductions.cyg")),
    ("transformer.cyg", include_str!("../../std/transformer.cyg")),
    ("schedules.cyg", include_str!("../../std/schedules.cyg")),
];
