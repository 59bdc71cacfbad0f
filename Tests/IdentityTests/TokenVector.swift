/// Tokens made and signed by another implementation (Python's cryptography package on OpenSSL), one for each algorithm.
///
/// They hold `{"sub":"vector-user","iat":1700000000,"exp":1700003600}`. The private keys were thrown away.
struct TokenVector: Sendable {
    var algorithm: String
    var key: String
    var signed: String
    var signature: String

    var token: String { "\(self.signed).\(self.signature)" }

    static let all: [TokenVector] = [
        TokenVector(
            algorithm: "HS256",
            key: "!(/6=DKRY`gn%,3:AHOV]dkx)07>ELSZ",
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "i8sAXVtigLDnWu8BWEC_7z60jWS9RfZ3mUsn8Tz0nyU"),
        TokenVector(
            algorithm: "HS384",
            key: "!(/6=DKRY`gn%,3:AHOV]dkx)07>ELSZaho&-4;BIPW^elz*",
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzM4NCJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "qu6bPIrUcFmfZuOmtIPppH6qMNksfaanZm35GJPsOVXuuX5iw7X8zJwif7u4gPX7"),
        TokenVector(
            algorithm: "HS512",
            key: "!(/6=DKRY`gn%,3:AHOV]dkx)07>ELSZaho&-4;BIPW^elz*18?FMT[bip'.5<CJ",
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "HMwebhk8DMm7Iu3vLc2u3VtGaBq3LrluJPzHfNYbh0EeZLvtWnDKIGkyBo3OtmsZ6jTDG__pj0RqORLA4luRGQ"),
        TokenVector(
            algorithm: "RS256",
            key: """
                -----BEGIN PUBLIC KEY-----
                MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA4Dqq7MQvc80/ThnckCI1
                RJ7qAUW558F3dHbvX65GPXJiuBZ3SjoNn0+5kFryKVJVrDQtTzuDcZ7cKMIH6CVZ
                x6P/Sgp+N69qrJOX0/m2Ig1Cykmmb27mgJg7/Iir+GIDmTIpIz3X9H+aN28s4mUj
                5LhtQOBSoFU1lsBf80VFhuBCCiu7DbVaxWJBW5Dros99zn8p71wkgFHsRt5nV2Sb
                6uVvcFjnKLRAmc7axrMfM6j03yyroqk6Ba5UGbvK3TvwnatX5BX+Vwq2ZlwJiP5n
                THZJvMQYLJ3pTNtNtJVK1c34CVwZUQf08r5UT6178sW4YvpqoyuC/kGvykk9X6ix
                vwIDAQAB
                -----END PUBLIC KEY-----
                """,
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "NAC7MDdmg-Xu4iq3LCfvJiiuNNeurExC9uJxoZW4cO07JXfrpKs_cRIkZeUiBotjfENrmOUwsrz5yVWop4HsKS2V"
                + "raKaUs0Lv6EK2ypeq8NFntRDjKjWBcAcGAnAy1hswLr1yGcWBuBoe5Kp88XmHgz_1I27TkV9KUgGn5xd6nK8FjY9"
                + "0rwiw31Ye2GHe5u2f2vob4uxn3M2XnpgUlHYvo9IEkckXArYaF944mcr3WlkN6c9dPYrBYcknDBljM3Txvv1jrV1"
                + "IJovOL8XziD1xS1w21YVDgOrJ1cwB-5CasSfWPomSe84ZjjjDIjAoZ9EydtQYwan4eQUFVzLWGF7uQ"),
        TokenVector(
            algorithm: "RS384",
            key: """
                -----BEGIN PUBLIC KEY-----
                MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA4Dqq7MQvc80/ThnckCI1
                RJ7qAUW558F3dHbvX65GPXJiuBZ3SjoNn0+5kFryKVJVrDQtTzuDcZ7cKMIH6CVZ
                x6P/Sgp+N69qrJOX0/m2Ig1Cykmmb27mgJg7/Iir+GIDmTIpIz3X9H+aN28s4mUj
                5LhtQOBSoFU1lsBf80VFhuBCCiu7DbVaxWJBW5Dros99zn8p71wkgFHsRt5nV2Sb
                6uVvcFjnKLRAmc7axrMfM6j03yyroqk6Ba5UGbvK3TvwnatX5BX+Vwq2ZlwJiP5n
                THZJvMQYLJ3pTNtNtJVK1c34CVwZUQf08r5UT6178sW4YvpqoyuC/kGvykk9X6ix
                vwIDAQAB
                -----END PUBLIC KEY-----
                """,
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzM4NCJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "NmSseJdRvqQFbB7qGOh2zUz1bDnk1heB3TdEZYv3Aq4Zw4rJQMxfPoHmeW3rx3GS4ILs6ZyBfi6VSPqRsaKaICHJ"
                + "XG8L7UzGLlyVpnk1S8DlsSI1hw75U1qLorkChULmJL2fo55dVIETGWBggy0-9AnBceDEK-leex4prVGoqJ80mMfr"
                + "fAMwWwVbYDEv5s5CkptXLdsHQ-i8Xh4Ev2hC2KJtPfUPKkp__V87q5q71Ns5BCE66WUCwmfEpGUqr26cHYIbODZF"
                + "ptpvTan6xq2K5iCNJgNAYYUH1QMTxNTVVSpAgseX9mIApRYB_L5w3f_Zoa65oA4GfFr-oEzIhQcLeg"),
        TokenVector(
            algorithm: "RS512",
            key: """
                -----BEGIN PUBLIC KEY-----
                MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA4Dqq7MQvc80/ThnckCI1
                RJ7qAUW558F3dHbvX65GPXJiuBZ3SjoNn0+5kFryKVJVrDQtTzuDcZ7cKMIH6CVZ
                x6P/Sgp+N69qrJOX0/m2Ig1Cykmmb27mgJg7/Iir+GIDmTIpIz3X9H+aN28s4mUj
                5LhtQOBSoFU1lsBf80VFhuBCCiu7DbVaxWJBW5Dros99zn8p71wkgFHsRt5nV2Sb
                6uVvcFjnKLRAmc7axrMfM6j03yyroqk6Ba5UGbvK3TvwnatX5BX+Vwq2ZlwJiP5n
                THZJvMQYLJ3pTNtNtJVK1c34CVwZUQf08r5UT6178sW4YvpqoyuC/kGvykk9X6ix
                vwIDAQAB
                -----END PUBLIC KEY-----
                """,
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzUxMiJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "oK7dhYEECQ-nfDC9vyRDx3W-tspsgAamRDtaHdyQMblR_2lw4-g0zZCNbPYURtRIqBzzoiuShVenalGWmQ8Vzsh2"
                + "HC6ZWDGaNn5ZqoHmP0wG-c83iVCdWxP2BinXQkslS4PsFp5w8RJeupkpFablWy0ZTB-QGf0JM_auRce2DoSdS1fT"
                + "wkA_AhNWJAK7yAIdTQykCuv-CBiePNOUziOfi5_vsPUFF9lG7FCccY8mYOdIW1I3HraF12pph4rFYNGHf0R3o1rz"
                + "IqVe7LMwyNjKOEwIpW2CKl3bcGpdVxp7rUy5e-G5Yx5fY9vi2drsO5j8lokBVC49Nw9EtqZLpk4SYA"),
        TokenVector(
            algorithm: "ES256",
            key: """
                -----BEGIN PUBLIC KEY-----
                MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELfdi4GbBdrOpxy4CMjLI1tf73gz7
                +RWq9HPHmBulO1AXTxnth5PaKjzvMgoTgBtJUiT2MSdEEAikkbULMTOwdQ==
                -----END PUBLIC KEY-----
                """,
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "rpbjBs5NiME5InHzDyRpIkalogIQYYvDEYerPeI1sq9aXMMNWy00wy7XvJu5W0-AXG58Ao2cMPnCpAWIUdq3KA"),
        TokenVector(
            algorithm: "ES384",
            key: """
                -----BEGIN PUBLIC KEY-----
                MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE1Lq89vuf/jcM4VkWoB32hl4ZS5/Zr6NJ
                zQFHSejJWBOqpIzILwt2JR8uXP2P/ZSOwP/6KHsyXclSS8p4NKBYvlV9hmdXUnI4
                W8VWwHzhWQGLLMfgK37t28D0AenNVKoL
                -----END PUBLIC KEY-----
                """,
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzM4NCJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "Jg0IMSPEZtdiHzf3uHUT4pFbLUFYUx5GJ0C__H-LhsefwlwINoNGzFKlvP0Rf3qdrYBa8lJkFmGg65rtclpQk--n"
                + "GYyj3jD1xJA63BYVtkmw1T0Z6hPY8T7asvOOTVYU"),
        TokenVector(
            algorithm: "ES512",
            key: """
                -----BEGIN PUBLIC KEY-----
                MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBI6Z1M7RBvp9xpFHDCK2mttBuZklB
                U2PB1GlZqATmEMAeKPNfRRxAtyVID0gT9Xw2zkxRmMlmcjwlVhMmGyADWEQAlOxD
                j9rmqHepizHfJWQHpF7Z+8DihEfHabBa4ALeIrPpVlzSV0OmcXG9bV8LcKRcQ0jM
                8HBUBhrBcN2BcZTNVrg=
                -----END PUBLIC KEY-----
                """,
            signed: "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzUxMiJ9.eyJzdWIiOiJ2ZWN0b3ItdXNlciIsImlhdCI6MTcwMDAwMDAwMCw"
                + "iZXhwIjoxNzAwMDAzNjAwfQ",
            signature: "AJsqxsSsbfTbtfsAQRp6uGfd7VRTjt7mWyA5v8EoPpSs4c1zsbbb1e9Mkf2UpyjrBuArqGFCiA0mlc_MhHgOBsG_"
                + "ANs0gTUJZzo7sifiuxJi90ss5mtw3LAiJXnX3NXIRHxrr_NnC_Kvq-34ygTBx6nTb_XIbI3aysuNkJwIkpu86eAF"),
    ]
}
