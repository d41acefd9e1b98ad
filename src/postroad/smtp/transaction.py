"""One mail transaction, client side, as a machine over replies: a delivery, or a probe that stops after RCPT.

Sends MAIL, RCPT… and DATA in one batch where PIPELINING is offered, one by one where it is not (RFC 2920 §3.1);
keeps each recipient's own fate; ends so that the connection can be used again, or says that it cannot. In LMTP a body
is answered once for each recipient that was taken, in their order (RFC 2033 §4.2).
A probe never sends DATA or BDAT. Driven by net/dialogue.py; the same machine serves delivery and verification.
"""

from __future__ import annotations

from collections.abc import Sequence

from postroad.smtp.client import Answer, Body, ClientSession, phase_of
from postroad.smtp.command import Bdat, Command, Data, Mail, Rcpt, Rset
from postroad.smtp.outcome import Phase, RecipientResult, TransactionResult
from postroad.smtp.reply import Reply

PIPELINE_BATCH = 100
"""Commands sent before their replies are awaited: a bound on what a slow server must buffer."""


class Transaction:
    """`body` None makes it a probe. Call `start`, then `receive` for every answer until `is_done`."""

    def __init__(
        self,
        session: ClientSession,
        mail: Mail,
        rcpts: Sequence[Rcpt],
        body: bytes | None,
        *,
        is_lmtp: bool = False,
    ) -> None:
        self._session = session
        self._rcpts = rcpts
        self._body = body
        self._results: list[RecipientResult | None] = [None] * len(rcpts)
        self._mail_reply: Reply | None = None
        self._final: Reply | None = None
        self._reset: Reply | None = None
        self._answered = 0
        """RCPT replies so far."""
        self._awaited = 0
        self._is_lmtp = is_lmtp
        self._to_settle: list[int] = []
        """LMTP: recipients whose reply to the body is still to come, the next one last."""
        self._is_by_chunk = body is not None and "BODY" in mail.parameters and mail.parameters["BODY"] == "BINARYMIME"
        self._is_pipelined = session.capabilities.has("PIPELINING")
        self._to_send: list[Command] = [mail, *rcpts]
        if body is not None and not self._is_by_chunk and len(rcpts) < PIPELINE_BATCH:
            self._to_send.append(Data())
        if body is None:
            self._to_send.append(Rset())
        self._to_send.reverse()
        self._has_sent_data = False
        self.is_done = False
        self.is_clean = True
        """Whether the session stands where a new MAIL may be sent."""

    def start(self) -> None:
        """Queue the first commands."""
        self._send_more()

    def _send_more(self) -> None:
        room = PIPELINE_BATCH if self._is_pipelined else 1
        while self._to_send and self._awaited < room:
            command = self._to_send.pop()
            if isinstance(command, Data):
                if not self._is_pipelined and not self._has_accepted():
                    break
                self._has_sent_data = True
            self._send(command)

    def _send(self, command: Command) -> None:
        self._session.send(command)
        self._awaited += 1

    def _has_accepted(self) -> bool:
        return any(result is not None and result.is_accepted for result in self._results)

    def receive(self, answer: Answer) -> None:
        """Take the reply to the oldest command unanswered."""
        self._awaited -= 1
        said = answer.reply
        if said.code == 421:
            if isinstance(answer.sent, Rset):
                self._reset = said
            self._conclude(phase_of(answer.sent), said)
            return
        match answer.sent:
            case Rcpt():
                if self._is_mail_accepted():
                    self._results[self._answered] = RecipientResult(Phase.RCPT, said)
                self._answered += 1
            case Mail():
                self._mail_reply = said
                if not said.is_positive:
                    self._results = [RecipientResult(Phase.MAIL, said)] * len(self._rcpts)
                    self._to_send.clear()
            case Data():
                self._take_data_reply(said)
            case Body() | Bdat() if self._is_lmtp:
                self._settle_next(said)
            case Body() | Bdat():
                self._final = said
                self._settle_body(said)
                self.is_done = True
            case Rset():
                self.is_done = True
                self.is_clean = said.is_positive
                self._reset = said
            case _:
                self.is_clean = False
        if not self.is_done:
            self._go_on()

    def _go_on(self) -> None:
        self._send_more()
        if self._awaited:
            return
        self._to_send.clear()
        if self._body is not None and self._has_accepted() and self._is_mail_accepted():
            if self._is_by_chunk:
                self._awaited += self._expect_settling()
                self._session.send_chunk(self._body, self._awaited)
                return
            if not self._has_sent_data:
                self._has_sent_data = True
                self._send(Data())
                return
        # Nobody accepted: the transaction is given up, the session kept.
        self._send(Rset())

    def _is_mail_accepted(self) -> bool:
        return self._mail_reply is not None and self._mail_reply.is_positive

    def _take_data_reply(self, said: Reply) -> None:
        assert self._body is not None
        if not said.is_intermediate:
            if said.is_positive:
                # 2yz to DATA is no consent to anything: what follows would be read as commands, or not at all.
                said = Reply(451, ("the server answered DATA with", str(said)))
                self.is_clean = False
            self._settle(Phase.DATA, said)
            if not self.is_clean:
                self._conclude(Phase.DATA, said)
            return
        if self._has_accepted() and self._is_mail_accepted():
            self._awaited += self._expect_settling()
            self._session.send_body(self._body, self._awaited)
        elif self._is_lmtp:
            # A message for nobody is wanted, and no reply would come to it (RFC 2033 §4.2).
            self.is_done = True
            self.is_clean = False
        else:
            self._session.send_body(b"")  # RFC 2920 §3.1: a lone dot ends what nobody is to get
            self._awaited += 1

    def _expect_settling(self) -> int:
        """How many replies will answer the body that is sent now."""
        if not self._is_lmtp:
            return 1
        accepted = [index for index, result in enumerate(self._results) if result is not None and result.is_accepted]
        self._to_settle = accepted[::-1]
        return len(accepted)

    def _settle_next(self, said: Reply) -> None:
        self._results[self._to_settle.pop()] = RecipientResult(Phase.BODY, said)
        if not self._to_settle:
            self._final = said
            self.is_done = True

    def _settle_body(self, said: Reply) -> None:
        if self._has_accepted():
            self._settle(Phase.BODY, said)

    def _settle(self, phase: Phase, said: Reply) -> None:
        for index, result in enumerate(self._results):
            if result is not None and result.is_accepted:
                self._results[index] = RecipientResult(phase, said)

    def _conclude(self, phase: Phase, said: Reply) -> None:
        """The session ends here by the server's word: it counts for everyone not yet decided."""
        self._end_with(RecipientResult(phase, said))

    def abandon(self, phase: Phase | None, detail: str) -> None:
        """The connection was lost, timed out or broke the protocol: `detail` says how, and nothing more comes."""
        self._end_with(RecipientResult(phase or Phase.MAIL, None, detail))

    def _end_with(self, ending: RecipientResult) -> None:
        for index, result in enumerate(self._results):
            is_awaiting_body = (
                index in self._to_settle
                if self._to_settle
                else self._body is not None and result is not None and result.is_accepted and self._final is None
            )
            if result is None or is_awaiting_body:
                self._results[index] = ending
        self.is_done = True
        self.is_clean = False

    def result(self) -> TransactionResult:
        """What became of each recipient. Only once `is_done`."""
        decided = tuple(result for result in self._results if result is not None)
        assert len(decided) == len(self._rcpts)
        return TransactionResult(decided, self._mail_reply, self._final, self._reset)
