import Logging
import NIOCore
import NIOSSL
import NIOTLS

/// Waits for the end of a TLS handshake, then builds the pipeline of the protocol that was agreed on.
final class TLSHandshakeHandler: ChannelInboundHandler, RemovableChannelHandler, HTTPTickerClient {
    typealias InboundIn = ByteBuffer

    private let serving: HTTPServing
    private let ticker: HTTPTicker
    var tickerIndex = -1
    private let deadline: NIODeadline
    private var context: ChannelHandlerContext?

    init(serving: HTTPServing, ticker: HTTPTicker) {
        self.serving = serving
        self.ticker = ticker
        self.deadline = .now() + serving.limits.requestTimeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.ticker.add(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.ticker.remove(self)
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.ticker.remove(self)
        context.fireChannelInactive()
    }

    func ticked(_ now: NIODeadline) {
        guard now > self.deadline else { return }
        self.ticker.remove(self)
        // Why past the TLS handler: a peer that shakes no hands gives no answer to a goodbye either.
        self.context?.channel.close(mode: .all, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ServerIsDraining || event is DrainIsOver {
            context.close(promise: nil)
            return
        }
        guard case .handshakeCompleted(let agreed)? = event as? TLSUserEvent else {
            context.fireUserInboundEventTriggered(event)
            return
        }
        let channel = context.channel
        do {
            let certificate = try context.pipeline.syncOperations.nioSSL_peerCertificate()
            let info = HTTPConnectionInfo(
                eventLoop: context.eventLoop, peer: channel.remoteAddress, isSecure: true,
                isHTTP2: agreed == HTTPProtocolVersion.http2.alpn,
                certificateSubject: try certificate.flatMap { CertificateSubject.text(der: try $0.toDERBytes()) })
            if info.isHTTP2 {
                try HTTP2Connection.configure(channel, serving: self.serving, info: info)
            } else {
                try HTTPConnectionHandler.configureHTTP1(channel, serving: self.serving, info: info)
            }
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        } catch {
            self.serving.logger.error("cannot serve a TLS connection", metadata: ["error": "\(error)"])
            context.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.serving.logger.debug("TLS handshake failed", metadata: ["error": "\(error)"])
        context.close(promise: nil)
    }
}
