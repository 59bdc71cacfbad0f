import Mirror

/// The flow as the mirror takes it; the configuration's has the same name.
typealias RunningMirrorFlow = MirrorFlow
