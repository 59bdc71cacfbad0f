import Logging
import NIOCore
import NIOHTTP1

/// One HTTP/1.1 connection, or one stream of an HTTP/2 connection: collects a request, asks its route, writes the response, and may turn
/// into a WebSocket.
///
/// Confined to its event loop. Requests are answered one after the other; what a client sends ahead waits here, and no more is read
/// meanwhile. The next request is looked at once the peer has taken enough of the last reply, so a peer that sends requests and reads
/// nothing costs one reply.
final class HTTPConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler, HTTPTickerClient {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Phase {
        /// Exits: `receiving`, `ending`, `closed`.
        case idle
        /// Head and body come. Exits: `answering`, `ending` (refused), `closed`.
        case receiving
        /// The route works. Exits: `writing`, `idle`, `sending`, `streaming`, `ending`, `upgraded`, `closed`.
        case answering
        /// A body with pieces of files, or one that is packed, is on its way. Exits: `writing`, `idle`, `ending`, `closed`.
        case sending
        /// A session writes the body. Exits: `writing`, `idle`, `ending`, `closed`.
        case streaming
        /// The reply is written, the peer has to take some of it. Exits: `idle`, `ending`, `closed`.
        case writing
        /// The last reply is written; what the peer still sends is read and dropped for a while, because closing a socket with
        /// unread bytes would take the reply away from the peer. Exit: `closed`.
        case ending
        case upgraded
        case closed
    }

    let serving: HTTPServing
    let info: HTTPConnectionInfo
    let ticker: HTTPTicker
    var tickerIndex = -1
    var limits: HTTPLimits { self.serving.limits }

    var phase: Phase = .idle
    var exchange: HTTPExchange
    var context: ChannelHandlerContext?
    /// When `idle`, `receiving` or `ending` has lasted too long.
    var deadline: NIODeadline = .distantFuture
    /// Whether the answer under way is the last one. True from the beginning where the connection came during the drain: only
    /// probes are answered then, everything else is refused.
    var isDraining = false

    /// Parts of later requests. Bounded, because nothing is read while they wait.
    private var ahead = CircularBuffer<HTTPServerRequestPart>(initialCapacity: 0)
    private var parserError: HTTPParserError?
    /// The peer has ended its half: there will be no other bytes of it.
    private(set) var isInputClosed = false
    private var isServingAhead = false
    private var readIsHeldBack = false
    /// Output is flushed once at the end of a read, so that replies to many small requests leave together.
    private var isReading = false
    private var needsFlush = false

    /// Bytes given to the channel since the connection began.
    var bytesWritten = 0
    /// Of an HTTP/2 stream, which cannot tell by itself.
    var bytesUntaken = 0
    private var bytesTakenAtTick = 0
    private var bytesCounted = 0
    private var lastProgress: NIODeadline = .distantPast

    var sending: HTTPSending?
    var packing: HTTPCompressedBody?
    var stream: (handle: HTTPStream, session: any HTTPStreamSession)?

    init(serving: HTTPServing, info: HTTPConnectionInfo, ticker: HTTPTicker) {
        self.serving = serving
        self.info = info
        self.ticker = ticker
        self.exchange = HTTPExchange(id: 0, route: serving.router.fallback)
    }

    /// The pipeline of an HTTP/1 connection, behind TLS if there is any.
    static func configureHTTP1(_ channel: any Channel, serving: HTTPServing, info: HTTPConnectionInfo) throws {
        let limits = serving.limits
        var decoderLimits = NIOHTTPDecoderLimitConfiguration()
        decoderLimits.maxHeaderFieldCount = limits.headerCount
        decoderLimits.maxHeaderFieldSize = limits.headerFieldBytes
        decoderLimits.maxHeaderListSize = limits.headerBytes
        let decoder = HTTPRequestDecoder(
            leftOverBytesStrategy: .forwardBytes, limitConfiguration: decoderLimits)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(ByteToMessageHandler(decoder))
        // There is no encoder: the handler writes finished bytes, so that a small reply is one buffer and one system call.
        try pipeline.addHandler(
            HTTPConnectionHandler(serving: serving, info: info, ticker: serving.ticker(of: channel.eventLoop)))
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.isDraining = self.serving.isDraining
        self.ticker.add(self)
        self.deadline = self.ticker.deadline(in: self.limits.requestTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.ticker.remove(self)
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.ticker.remove(self)
        self.gone()
        context.fireChannelInactive()
    }

    /// The peer is gone: nobody waits for the answer any more.
    private func gone() {
        guard self.phase != .closed else { return }
        self.phase = .closed
        self.countBytes()
        self.exchangeEnded(isWhole: false)
        self.ahead.removeAll()
        self.sending = nil
        self.packing = nil
        self.exchange.request = nil
        self.releaseBody()
        self.exchange.work?.cancel()
        let onGone = self.exchange.onGone
        self.dropCallbacks()
        if let stream = self.stream {
            self.stream = nil
            stream.handle.detach()
            stream.session.ended()
        }
        onGone?()
    }

    func dropCallbacks() {
        self.exchange.work = nil
        self.exchange.onGone = nil
        self.exchange.onDrain = nil
        self.exchange.onTimeout = nil
    }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.isReading = true
        let part = self.unwrapInboundIn(data)
        switch self.phase {
        case .idle where self.ahead.isEmpty, .receiving where self.ahead.isEmpty: self.received(part)
        case .ending:
            if case .end = part { self.exchange.isBodyComplete = true }
        case .upgraded, .closed: break
        default: self.ahead.append(part)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.flushIfNeeded()
        if self.phase == .receiving, self.exchange.bodyBytes == 0 { self.acknowledgeAtOnce(context) }
        context.fireChannelReadComplete()
    }

    /// While a request is answered one more reading is taken in, not more: a peer that waits for its answer, as most do, then costs no
    /// change of what the selector watches. That the peer goes away is seen in any case.
    func read(context: ChannelHandlerContext) {
        switch self.phase {
        case .idle, .receiving, .ending, .upgraded, .closed: context.read()
        case .answering, .sending, .streaming, .writing:
            if self.ahead.isEmpty, self.parserError == nil { context.read() } else { self.readIsHeldBack = true }
        }
    }

    func resumeReading() {
        guard self.readIsHeldBack else { return }
        self.readIsHeldBack = false
        self.context?.read()
    }

    /// The peer sends no more. Whole requests of it are answered; who waits for news to come has gone, as far as can be told.
    private func inputClosed() {
        self.isInputClosed = true
        self.isReading = false
        self.flushIfNeeded()
        switch self.phase {
        case .idle: self.endIfNothingFollows()
        case .receiving where self.ahead.isEmpty, .streaming: self.abort()
        case .answering: if self.exchange.onGone != nil || self.exchange.work != nil { self.abort() }
        case .receiving, .sending, .writing, .ending, .upgraded, .closed: break
        }
    }

    /// Behind a reply: ends the connection where the peer has ended its half and left nothing to answer.
    func endIfNothingFollows() {
        guard self.isInputClosed, self.phase == .idle, self.ahead.isEmpty, self.parserError == nil else { return }
        if self.pendingBytes == 0, !self.needsFlush { self.abort() } else { self.endConnection() }
    }

    /// Serves what came ahead of the last reply.
    func serveAhead() {
        guard !self.isServingAhead, !self.ahead.isEmpty || self.parserError != nil || self.readIsHeldBack else {
            return
        }
        self.isServingAhead = true
        while self.phase == .idle || self.phase == .receiving, let part = self.ahead.popFirst() { self.received(part) }
        self.isServingAhead = false
        guard self.phase == .idle || self.phase == .receiving else {
            if self.phase == .ending || self.phase == .closed { self.ahead.removeAll() }
            self.flushIfNeeded()
            return
        }
        if let error = self.parserError {
            self.parserError = nil
            self.refuse(error)
        } else {
            self.resumeReading()
        }
        self.flushIfNeeded()
    }

    // MARK: Waiting

    func addCallback(to id: UInt64, _ callback: HTTPExchange.Callback) {
        guard id == self.exchange.id, self.phase == .answering else {
            // Answered already, and nobody cares; or the client is gone, and somebody has to be told.
            if id == self.exchange.id, self.phase == .closed, !self.exchange.isAnswered, case .gone(let body) = callback
            {
                body()
            }
            return
        }
        switch callback {
        case .gone(let body):
            self.exchange.onGone = body
            if self.isInputClosed { self.abort() }
        case .drain(let body):
            if self.isDraining { body() } else { self.exchange.onDrain = body }
        case .timeout(let time, let body):
            self.exchange.onTimeout = (.now() + time, body)
        }
    }

    /// The responder went away without an answer.
    func forgotten(_ id: UInt64) {
        guard id == self.exchange.id, self.phase == .answering else { return }
        self.serving.logger.error("a request was not answered by its handler")
        self.respond(to: id, .reply(.text("Internal server error", status: .internalServerError)))
    }

    /// Hands over what was written since the last time, so that writing itself counts nothing.
    private func countBytes() {
        let new = self.bytesWritten - self.bytesCounted
        guard new > 0 else { return }
        self.bytesCounted = self.bytesWritten
        self.serving.counters.wrote(new)
    }

    func ticked(_ now: NIODeadline) {
        self.countBytes()
        let pending = self.pendingBytes
        if pending > 0 {
            let taken = self.bytesWritten - pending
            if taken > self.bytesTakenAtTick || self.lastProgress == .distantPast {
                self.lastProgress = now
            } else if now - self.lastProgress > self.limits.replyTimeout {
                self.abort()
                return
            }
            self.bytesTakenAtTick = taken
        } else {
            self.lastProgress = .distantPast
            self.bytesTakenAtTick = self.bytesWritten
        }
        switch self.phase {
        case .idle:
            if pending == 0, now > self.deadline { self.abort() }
        case .receiving, .ending:
            if now > self.deadline { self.abort() }
        case .answering:
            if let timeout = self.exchange.onTimeout, now >= timeout.at {
                self.exchange.onTimeout = nil
                timeout.body()
            }
        case .sending:
            self.checkFile()
        case .streaming:
            self.stream?.session.ticked(now)
        case .writing, .upgraded, .closed:
            break
        }
    }

    var tickTime: NIODeadline { self.ticker.now }

    /// Ends the connection (or resets the HTTP/2 stream) at once.
    func abort() {
        self.context?.close(promise: nil)
    }

    // MARK: Output

    var isWritable: Bool { self.context?.channel.isWritable ?? false }

    /// Bytes that the peer has not taken.
    var pendingBytes: Int {
        if self.info.isHTTP2 { return self.bytesUntaken }
        guard let options = self.context?.channel.syncOptions else { return 0 }
        return (try? options.getOption(.bufferedWritableBytes)) ?? 0
    }

    func flush() {
        if self.isReading || self.isServingAhead {
            self.needsFlush = true
        } else {
            self.context?.flush()
        }
    }

    private func flushIfNeeded() {
        guard self.needsFlush, !self.isReading, !self.isServingAhead else { return }
        self.needsFlush = false
        self.context?.flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            if self.phase == .writing {
                self.becomeIdle()
            } else if self.phase == .streaming {
                self.stream?.session.becameWritable()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: Ends

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ServerIsDraining: self.drain(context: context)
        case is DrainIsOver: self.leave(context: context)
        case let event as ChannelEvent where event == .inputClosed && !self.info.isHTTP2: self.inputClosed()
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    private func drain(context: ChannelHandlerContext) {
        self.isDraining = true
        switch self.phase {
        case .idle:
            if self.pendingBytes == 0 { context.close(promise: nil) } else { self.endConnection() }
        case .writing:
            self.endConnection()
        case .answering:
            let onDrain = self.exchange.onDrain
            self.exchange.onDrain = nil
            onDrain?()
        case .streaming:
            self.stream?.session.draining()
        case .receiving, .sending, .ending, .upgraded, .closed:
            break
        }
    }

    /// A connection that came during the drain has no claim to time: it goes unless an answer is on its way.
    private func leave(context: ChannelHandlerContext) {
        switch self.phase {
        case .idle:
            context.close(promise: nil)
        case .ending:
            // Why not with a request half read: closing would take the answer away from the peer.
            if self.exchange.isBodyComplete, self.deadline != .distantFuture { context.close(promise: nil) }
        case .receiving, .answering, .sending, .streaming, .writing, .upgraded, .closed:
            break
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let parser = error as? HTTPParserError else {
            // Bytes behind those that were no request, which is being answered: closing now would take the answer away.
            if case ByteToMessageDecoderError.dataReceivedInErrorState = error, self.phase != .upgraded { return }
            context.close(promise: nil)
            return
        }
        switch self.phase {
        case .idle where self.ahead.isEmpty, .receiving where self.ahead.isEmpty:
            self.refuse(parser)
        case .ending, .closed:
            break
        case .upgraded:
            context.close(promise: nil)
        default:
            // Behind the requests under way, which are answered first.
            self.parserError = parser
        }
    }
}
