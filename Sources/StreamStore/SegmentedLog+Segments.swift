import Synchronization

extension SegmentedLog {
    /// Where the newest segment begins that starts at or before `offset`: what `trim(before:)` would keep. Nil if
    /// `offset` lies before the first one.
    package func segmentStart(atOrBefore offset: UInt64) -> UInt64? {
        self.state.withLock { state in
            state.segments.last { $0.file.base <= offset }?.file.base
        }
    }
}
