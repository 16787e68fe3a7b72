"""Mutations: ways to break the engine. Each is a test of the simulation, which has to find it.

The list has every fix that is about the order of events, taken back, and whatever else a simulation
of such an engine should notice. A mutation that cannot be found says why. `make mutations` tries
them all, which takes long; some are tried by parts of their names:

    python -m simulation.mutations lane "last write" --seeds 50
"""

from simulation.mutants import Change, Mutation, main

MUTATIONS = (
    # tokens: who has lost a claim can write nothing about it
    Mutation(
        "a transaction completes a delivery whatever its token is, and so does a failure",
        "deliveries/ends.py",
        'sa.bindparam(f"this_{column.name}") for column in CLAIM_COLUMNS)',
        'sa.bindparam(f"this_{column.name}") for column in CLAIM_COLUMNS[:2])',
    ),
    Mutation(
        "a batch completes or releases deliveries whatever their tokens are",
        "deliveries/ends.py",
        "change_in_order(database, end, OF_THESE_CLAIMS, skip_locked=True)",
        "change_in_order(database, end, "
        "sa.tuple_(*CLAIM_COLUMNS[:2]).in_(sa.bindparam('keys', expanding=True)), "
        "skip_locked=True)",
        also=[
            Change(
                "deliveries/ends.py",
                "transaction.execute(self._statement, asked)",
                'transaction.execute(self._statement, {"keys": [each[:2] for each in claims]})',
            ),
            Change(
                "deliveries/ends.py",
                'return [ClaimKey(row["event_id"], row["handler"], row["token"]) for row in ended]',
                'hit = [(row["event_id"], row["handler"]) for row in ended]\n'
                "        return [each for each in claims if each[:2] in hit]",
            ),
        ],
    ),
    Mutation(
        "a claim leaves the token as it is",
        "deliveries/states.py",
        "token=NEXT_TOKEN,\n        available_at=now + lease_seconds",
        "token=row.token,\n        available_at=now + lease_seconds",
    ),
    Mutation(
        "a claim on the next one of a lane leaves the token as it is",
        "deliveries/ordered_completion.py",
        "claim = claimed(now, database.process, policy.lease_seconds)\n",
        "claim = claimed(now, database.process, policy.lease_seconds)\n"
        "        claim.values['token'] = row.token\n",
    ),
    Mutation(
        "a release leaves the token as it is",
        "deliveries/states.py",
        "token=NEXT_TOKEN,\n        available_at=row.available_at - lease",
        "token=row.token,\n        available_at=row.available_at - lease",
        also=[Change("deliveries/ends.py", "row.token - 1", "row.token + 0")],
    ),
    Mutation(
        "an operator's retry leaves the token as it is",
        "deliveries/states.py",
        "token=NEXT_TOKEN,\n        available_at=now + pause_of(deliveries.c.handler),\n"
        "        owner=None,\n        parked_at=None,",
        "available_at=now + pause_of(deliveries.c.handler),\n"
        "        owner=None,\n        parked_at=None,",
    ),
    Mutation(
        "an operator's discard leaves the token as it is",
        "deliveries/states.py",
        "token=NEXT_TOKEN,\n        available_at=None,",
        "available_at=None,",
    ),
    Mutation(
        "a transaction commits though it has lost its delivery",
        "deliveries/store.py",
        "self._complete_this, ClaimKey.of(claim).params) != 1",
        "self._complete_this, ClaimKey.of(claim).params) > 1",
    ),
    Mutation(
        "a failure of a claim that is lost is in the history all the same",
        "deliveries/store.py",
        "execute_dml(failed, key.params) != 1",
        "execute_dml(failed, key.params) > 1",
    ),
    # leases and attempts
    Mutation(
        "a claim does not wait for the end of a lease",
        "deliveries/states.py",
        "sa.and_(CLAIMABLE, row.available_at <= now)",
        "sa.and_(CLAIMABLE, row.available_at <= now + lease_seconds)",
    ),
    Mutation(
        "a lease is longer than its process knows",
        "deliveries/states.py",
        "available_at=now + lease_seconds,",
        "available_at=now + 2 * lease_seconds,",
    ),
    Mutation(
        "a claim does not count as an attempt",
        "deliveries/states.py",
        "(is_fine, row.attempts + 1), else_=row.attempts",
        "else_=row.attempts",
    ),
    Mutation(
        "a claim tries again what had its last attempt",
        "deliveries/claim_statement.py",
        "row.attempts >= policy.max_attempts",
        "row.attempts > policy.max_attempts",
    ),
    Mutation(
        "a release counts as an attempt",
        "deliveries/states.py",
        "        attempts=UNCOUNTED,\n"
        "        token=NEXT_TOKEN,\n"
        "        available_at=row.available_at - lease",
        "        token=NEXT_TOKEN,\n        available_at=row.available_at - lease",
    ),
    Mutation(
        "what is released is due only when its lease ends",
        "deliveries/states.py",
        "row.available_at - lease_seconds + pause_of",
        "row.available_at + pause_of",
    ),
    Mutation(
        "an outage counts as an attempt",
        "deliveries/states.py",
        '{"attempts": UNCOUNTED, "unavailable_attempts": more}',
        '{"unavailable_attempts": more}',
    ),
    Mutation(
        "each failure is taken for an outage",
        "deliveries/ends.py",
        "describe(failure.error), is_away(failure.error)",
        "describe(failure.error), True",
    ),
    Mutation(
        "what fails is due at once",
        "deliveries/states.py",
        "if is_away else {}, now + seconds",
        "if is_away else {}, now + 0 * seconds",
    ),
    Mutation(
        "what is only unavailable is parked by counting",
        "delivery_policy.py",
        "self.max_attempts and not is_away(error)",
        "self.max_attempts",
    ),
    Mutation(
        "what fails is parked one attempt too late",
        "delivery_policy.py",
        "claim.attempt >= self.max_attempts",
        "claim.attempt > self.max_attempts",
    ),
    Mutation(
        "what is refused for ever is tried again",
        "delivery_policy.py",
        "if is_permanent(error)",
        "if False",
    ),
    Mutation(
        "an attempt begins however late in its lease",
        "attempt.py",
        "if now >= self._begin_by",
        "if False",
    ),
    Mutation(
        "an external effect begins with less time than its handler may take",
        "attempt.py",
        "self._begin_by = self._end_by - (0 if handler.is_transactional else self._seconds)",
        "self._begin_by = self._end_by",
    ),
    Mutation(
        "an attempt goes on after its lease",
        "attempt.py",
        "self._scope.deadline = min(now + self._seconds, self._end_by)",
        "self._scope.deadline = now + self._seconds",
    ),
    Mutation(
        "each attempt has an idempotency key of its own",
        "claims.py",
        'f"{self.envelope.id}:{self.handler}")',
        'f"{self.envelope.id}:{self.handler}:{self.attempt}")',
    ),
    Mutation(
        "a worker runs twice what it has claimed once",
        "process/worker.py",
        "            group.start_soon(in_own_task, self._deliver, delivery)\n",
        "            self._running[delivery.handler] += 1\n"
        "            group.start_soon(in_own_task, self._deliver, delivery)\n"
        "            group.start_soon(in_own_task, self._deliver, delivery)\n",
    ),
    Mutation(
        "an error of the database ends a worker",
        "process/worker.py",
        "except Exception as error:  # no error of the database may end the worker",
        "except ZeroDivisionError as error:",
    ),
    # the end of a claim
    Mutation(
        "a failure is not stored",
        "attempt.py",
        "await self._last_write(write, [claim], report, outcome=outcome)",
        "pass",
    ),
    Mutation(
        "a failure is not in the history",
        "deliveries/store.py",
        'await ends.record(transaction, now, "failed", [{**key._asdict(), **what}])',
        "pass",
    ),
    Mutation(
        "a release is not in the history",
        "deliveries/ends.py",
        "await record(transaction, self._database.clock, outcome, entries)",
        "pass",
    ),
    Mutation(
        "a lease that has expired is not in the history",
        "deliveries/store.py",
        'await ends.record(transaction, self.database.clock, "lease_expired", lost)',
        "pass",
    ),
    Mutation(
        "what an operator takes from a process is not in the history",
        "extensions/operations/decisions.py",
        "    await transaction.execute(sa.insert(failures).from_select([*columns], running))\n",
        "",
    ),
    Mutation(
        "last writes that came too late are forgotten",
        "attempt.py",
        "report.keep(claims, if_cancelled or write, completes=completes)",
        "pass",
    ),
    Mutation(
        "a worker does not make up for its last writes",
        "process/worker.py",
        "        await self._await_capacity()\n        await self._make_last_writes()\n",
        "        await self._await_capacity()\n",
    ),
    Mutation(
        "of a claim it is the last of its last writes that is made up for, and not the first",
        "claims.py",
        "self.unwritten.setdefault(names, LastWrite(write, completes))",
        "self.unwritten[names] = LastWrite(write, completes)",
    ),
    Mutation(
        "a last write is not made again while the database is away",
        "attempt.py",
        "may_heal = isinstance(error, errors.ConcurrentUpdate) or errors.is_away(error)",
        "may_heal = isinstance(error, errors.ConcurrentUpdate)",
    ),
    Mutation(
        "a last write that is cancelled is not made once more",
        "attempt.py",
        "await until_stored(if_cancelled or write, end)",
        "pass",
    ),
    Mutation(
        "a completion that is cancelled claims the next one of its lane for nobody",
        "attempt.py",
        "alone = partial(write, follow=False)",
        "alone = write",
    ),
    Mutation(
        "a completion that is made again finds that another process has it",
        "deliveries/states.py",
        "~PARKED if again else PENDING",
        "PENDING",
    ),
    Mutation(
        "a batch tells all that their claims were hit",
        "deliveries/ends.py",
        'dict.fromkeys(batch, "superseded")',
        'dict.fromkeys(batch, "hit")',
    ),
    Mutation(
        "a batch forgets those that came while another one was under way",
        "deliveries/ends.py",
        "while mine := [each for each in claims if known[each] is None]:",
        "if mine := [each for each in claims if known[each] is None]:",
        also=[
            Change(
                "deliveries/ends.py",
                "                    continue\n",
                "                    return True\n",
            )
        ],
    ),
    Mutation(
        "an effect that has returned is released, too",
        "attempt.py",
        "if not limit.has_returned:",
        "if True:",
    ),
    Mutation(
        "what was interrupted is said to have had no effect",
        "attempt.py",
        "perhaps = limit.has_begun and not (handler.is_transactional or claim.given_up)",
        "perhaps = False",
    ),
    Mutation(
        "a cancelled attempt keeps its claim",
        "attempt.py",
        "await self.release([claim], report, interrupted=perhaps)",
        "pass",
    ),
    Mutation(
        "an attempt that begins too late keeps its claim",
        "attempt.py",
        "report.failures.append(Failure(delivery=claim, error=outcome, retry_in=0.0))\n"
        "                await self.release([claim], report)",
        "report.failures.append(Failure(delivery=claim, error=outcome, retry_in=0.0))",
    ),
    Mutation(
        "what a paused handler has claimed stays claimed",
        "attempt.py",
        "case errors.HandlerPaused():\n                await self.release([claim], report)",
        "case errors.HandlerPaused():\n                pass",
    ),
    Mutation(
        "what waits for a slot stays claimed when its client has gone",
        "bus.py",
        "except get_cancelled_exc_class():\n            await self.release(waiting, report)",
        "except get_cancelled_exc_class():",
    ),
    Mutation(
        "what a process cannot run stays claimed",
        "attempt.py",
        "await self.release([claim], report)  # one of its ports is not configured here",
        "pass",
    ),
    Mutation(
        "a process forgets what it has claimed with its commit",
        "deliveries/unit_of_work_scope.py",
        "return Committed(tuple(events), tuple(claims))",
        "return Committed(tuple(events))",
    ),
    # one transaction: all of it, or nothing
    Mutation(
        "a commit that has failed counts as made",
        "deliveries/unit_of_work_scope.py",
        "                await transaction.commit()\n",
        "                try:\n"
        "                    await transaction.commit()\n"
        "                except Exception:\n"
        '                    logger.info("never mind")\n',
    ),
    Mutation(
        "a delivery is completed after its transaction, in one of its own",
        "deliveries/unit_of_work_scope.py",
        "claims = await store(completes=completes, is_free=is_free, command=command)",
        "claims = [*await store(command=command)]",
        also=[
            Change(
                "deliveries/unit_of_work_scope.py",
                "                await transaction.commit()\n",
                "                await transaction.commit()\n"
                "            if completes:\n"
                "                async with delivery_store.database.write_transaction() as own:\n"
                "                    claims += await delivery_store.complete_in(own, completes)\n"
                "                    await own.commit()\n",
            )
        ],
    ),
    Mutation(
        "a command that comes again is executed again",
        "deliveries/unit_of_work_scope.py",
        "if isinstance(work, CommandWork) and work.origin.id is not None:",
        "if False:",
    ),
    Mutation(
        "a command that comes again is taken for a conflict",
        "deliveries/inbox.py",
        "raise MessageAlreadyHandled(work.origin.source, work.origin.id) from error",
        "raise ConcurrentUpdate from error",
        also=[
            Change(
                "deliveries/inbox.py",
                "import MessageAlreadyHandled",
                "import ConcurrentUpdate, MessageAlreadyHandled",
            )
        ],
    ),
    Mutation(
        "events are stored without deliveries",
        "deliveries/new_events.py",
        "        if rows:\n            connection.execute(self._insert_deliveries, rows)",
        "        if rows and not first_attempts:\n"
        "            connection.execute(self._insert_deliveries, rows)",
    ),
    Mutation(
        "a unit of work stores one of its events, and not the others",
        "deliveries/unit_of_work_scope.py",
        "store = partial(delivery_store.store, transaction, events, deliveries)",
        "its = [each for each in deliveries if each.envelope in events[:1]]\n"
        "            store = partial(delivery_store.store, transaction, events[:1], its)",
    ),
    Mutation(
        "an aggregate that was added, written and forgotten loses its events",
        "database/aggregate_versions.py",
        'sa.event.listen(AggregateSession, "transient_to_pending", _keep)\n',
        "",
    ),
    Mutation(
        "an aggregate that was loaded and forgotten loses its events",
        "database/aggregate_versions.py",
        'sa.event.listen(AggregateSession, "loaded_as_persistent", _keep)\n',
        "",
    ),
    Mutation(
        "an aggregate of another transaction that is forgotten loses its events",
        "database/aggregate_versions.py",
        'sa.event.listen(AggregateSession, "detached_to_persistent", _keep)\n',
        "",
    ),
    Mutation(
        "an error of the database that a handler swallows is forgotten",
        "database/transaction.py",
        "self._failure = self._failure or error",
        "self._failure = None",
    ),
    Mutation(
        "a reply is stored, and its delivery is not completed",
        "attempt.py",
        "self.envelopes.of_command(answer, origin, claim)",
        "self.envelopes.of_command(answer, origin)",
    ),
    Mutation(
        "a handler's transaction stays open to tasks that it leaves behind",
        "database/connection_guard.py",
        "return not self._has_ended or _alone.get() is self",
        "return True",
    ),
    Mutation(
        "a transaction is committed beside a statement of a task that was left behind",
        "database/connection_guard.py",
        "        if at_rest and self.under_way:\n",
        "        if False:\n",
    ),
    Mutation(
        "a connection goes back to the pool with a statement of a task that was left behind",
        "database/transaction.py",
        "guard and (guard.under_way or not guard.is_reusable)",
        "guard and not guard.is_reusable",
        expected="one thread makes all calls of a connection, in their order: the ROLLBACK comes "
        "after the statement",
    ),
    Mutation(
        "a handler can end its transaction in SQL",
        "database/connection_guard.py",
        "ending = ENDS.match(statement)",
        "ending = None",
    ),
    Mutation(
        "nobody asks whether the transaction is still that of the handler",
        "database/connection_guard.py",
        "if not is_same or (self._was_in_transaction and not in_transaction(self._driver)):",
        "if not is_same:",
    ),
    Mutation(
        "a connection whose commit has failed goes back to the pool in its transaction",
        "database/transaction.py",
        "if is_unsafe or _is_stuck(connection):",
        "if is_unsafe:",
        expected="what the database refuses, the pool rolls back; what the guard refuses to a "
        "handler that commits by its connection, it does not, and a test of transactions finds it",
    ),
    # conflicts and replies
    Mutation(
        "a reply that meets a conflict is given up",
        "attempt.py",
        "                if not limit.allows_another_run(delay):",
        "                if not isinstance(work, Claim) and work.completes:\n"
        "                    raise\n"
        "                if not limit.allows_another_run(delay):",
        also=[
            Change(
                "attempt.py",
                "except (errors.TransientError, errors.ConcurrentUpdate) as error:",
                "except errors.TransientError as error:",
            )
        ],
    ),
    Mutation(
        "a reply that cannot be stored at once is given up",
        "attempt.py",
        "stored = await self._last_write(execute, [claim], outcome=outcome)",
        "stored = await execute()",
    ),
    Mutation(
        "all runs of a reply share the time of one handler",
        "attempt.py",
        "self._is_anew = True",
        "self._is_anew = False",
    ),
    Mutation(
        "a handler that meets a conflict has failed",
        "attempt.py",
        "if not limit.allows_another_run(delay):",
        "if True:",
    ),
    # pauses
    Mutation(
        "claims do not look at pauses",
        "deliveries/claim_statement.py",
        "rare(row.handler == unpaused), ",
        "rare(row.handler == name), ",
    ),
    Mutation(
        "a commit does not look at pauses when it claims",
        "deliveries/store.py",
        "not_to = {*await self._pauses.read(transaction), *self.limits}",
        "not_to = {*self.limits}",
    ),
    Mutation(
        "nobody looks at pauses before an attempt",
        "deliveries/store.py",
        "if current_time() - claim.leased_at > PAUSES_SECONDS:",
        "if False:",
    ),
    Mutation(
        "pauses are read once and for all",
        "deliveries/pauses.py",
        "current_time() + PAUSES_SECONDS\n        return self._paused",
        "inf\n        return self._paused",
    ),
    Mutation(
        "what is released while its handler is paused is due",
        "deliveries/states.py",
        "row.available_at - lease_seconds + pause_of(row.handler)",
        "row.available_at - lease_seconds",
        expected="claims look at pauses, too: the time of what is paused only spares them the rows",
    ),
    Mutation(
        "who resumes a handler forgets what was released meanwhile",
        "extensions/operations/handler_pauses.py",
        "        count += sum([await transaction.execute_dml(each) for each in left])\n",
        "",
    ),
    Mutation(
        "who resumes a handler forgets what is blocked",
        "extensions/operations/handler_pauses.py",
        "PARTS = CLAIMABLE, BLOCKED",
        "PARTS = (CLAIMABLE,)",
    ),
    # decisions
    Mutation(
        "a discard leaves what follows in its lane blocked",
        "extensions/operations/delivery_admin.py",
        "        await after_end(transaction, database, places)\n",
        "        pass\n",
    ),
    Mutation(
        "a discard is not stored as a decision",
        "extensions/operations/delivery_admin.py",
        "    await decision.store(transaction, database, what, [key])\n",
        "",
    ),
    Mutation(
        "an erasure leaves to be done what has an effect",
        "extensions/operations/erasing_events.py",
        "await transaction.execute_dml(end.update(_of(of), deliveries.c.handler.in_(discard)))",
        "0",
    ),
    Mutation(
        "an erasure leaves what follows in its lane blocked",
        "extensions/operations/erasing_events.py",
        "    await after_end(transaction, database, left)\n",
        "",
    ),
    Mutation(
        "an erasure leaves running what knows what is erased",
        "extensions/operations/erasing_events.py",
        "    await transaction.execute_dml(revoked(database.clock).update(_of(of)))\n",
        "",
    ),
    Mutation(
        "a retry leaves the attempts as they are",
        "deliveries/states.py",
        "~FINISHED,\n        attempts=0,",
        "~FINISHED,",
    ),
    Mutation(
        "what is done can be decided about",
        "extensions/operations/delivery_admin.py",
        "change.update(this)",
        "Transition(this, **change.values).update()",
    ),
    Mutation(
        "events are pruned before their deliveries are done",
        "extensions/operations/retention.py",
        "where(events.c.id.in_(locked), ~pending)",
        "where(events.c.id.in_(locked))",
    ),
    Mutation(
        "events are pruned however young they are",
        "extensions/old_events.py",
        "return sa.select(time, events.c.id).where(time < database.clock - older_than)",
        "return sa.select(time, events.c.id).where(time < database.clock)",
    ),
    Mutation(
        "commands are pruned before their events",
        "extensions/operations/retention.py",
        "where(commands.c.id.in_(locked), ~has_events)",
        "where(commands.c.id.in_(locked))",
    ),
    Mutation(
        "a replay makes no deliveries",
        "extensions/operations/replay.py",
        "found = wanted.add_columns(*(_column(value) for value in values.values()))",
        "found = wanted.where(sa.false()).add_columns(*map(_column, values.values()))",
    ),
    Mutation(
        "what a replay does again keeps its token",
        "deliveries/states.py",
        "        token=NEXT_TOKEN,\n        available_at=now + pause_of(handler),",
        "        available_at=now + pause_of(handler),",
    ),
    Mutation(
        "a replay forgets what a handler has done by another name",
        "extensions/operations/replay.py",
        "row.event_id == events.c.id, row.handler.in_(self.aliases), is_kept",
        "row.event_id == events.c.id, row.handler == self.handler, is_kept",
    ),
    Mutation(
        "a replay does again what an operator has discarded",
        "extensions/operations/replay.py",
        "sa.and_(self._is_past(row.completed_at, now), WAS_HANDLED)",
        "self._is_past(row.completed_at, now)",
        also=[
            Change(
                "deliveries/states.py",
                "    FINISHED, deliveries.c.discarded_at.is_(None), ",
                "    FINISHED, ",
            )
        ],
    ),
    Mutation(
        "an erasure leaves what errors quote",
        "extensions/operations/erasing_events.py",
        "    await transaction.execute_dml(redacted(ERASED, kept=reason).update(_of(some)))\n",
        "",
    ),
    Mutation(
        "an erasure leaves what the history of failures quotes",
        "extensions/operations/erasing_events.py",
        "    await transaction.execute_dml(failed.values(error=ERASED))\n",
        "",
    ),
    Mutation(
        "an erasure leaves the fingerprints of commands",
        "extensions/operations/erasing_events.py",
        "these.where(sa.or_(commands.c.id.in_(causes), ~caused))",
        "these.where(~caused)",
    ),
    Mutation(
        "an ordered replay does not ask for a pause",
        "extensions/operations/ordered_replay.py",
        "    if found.first() is None:",
        "    if False:",
    ),
    Mutation(
        "an ordered replay lets two of a lane begin",
        "extensions/operations/ordered_replay.py",
        "        await transaction.execute_dml(blocked().update(IN_THESE_LANES), lanes)\n",
        "",
    ),
    Mutation(
        "an ordered replay leaves a lane blocked",
        "extensions/operations/ordered_replay.py",
        "        await transaction.execute_dml(first, lanes)\n",
        "",
    ),
    # lanes
    Mutation(
        "a new delivery does not wait for those before it",
        "deliveries/new_events.py",
        "blocked = sa.or_(is_behind, last.scalar_subquery().is_not(None))",
        "blocked = is_behind",
    ),
    Mutation(
        "two deliveries of one commit do not wait for each other",
        "deliveries/new_events.py",
        '"is_behind": lane in lanes',
        '"is_behind": False',
    ),
    Mutation(
        "a handler with a transaction does not let its lane go on",
        "deliveries/store.py",
        "return await self._ordered().go_on(transaction, claim, is_free=is_free)",
        "return ()",
    ),
    Mutation(
        "a handler without a transaction does not let its lane go on",
        "deliveries/ordered_completion.py",
        "if completed.is_new:",
        "if False:",
    ),
    Mutation(
        "a completion that is made again unblocks the next one again",
        "deliveries/ordered_completion.py",
        "if completed.is_new:",
        "if True:",
    ),
    Mutation(
        "what ends while a replay has put others before it unblocks the next one",
        "deliveries/lanes.py",
        "update(*of_lane, ~was_blocked)",
        "update(*of_lane)",
    ),
    Mutation(
        "a lane goes on with what was parked or delayed before its time",
        "deliveries/states.py",
        "sa.case((row.available_at < now, now), else_=row.available_at)",
        "now",
    ),
    Mutation(
        "a process goes on in a lane before its next one is due",
        "deliveries/ordered_completion.py",
        "claim = claimed(now, database.process, policy.lease_seconds)\n",
        "claim = claimed(now, database.process, policy.lease_seconds)\n"
        "        claim.when = sa.and_(row.parked_at.is_(None), ~row.blocked)\n",
    ),
    Mutation(
        "an ordered handler that is renamed has new lanes",
        "handler_table.py",
        "lane = (how.lane or name) if isinstance(how, Ordered) else None\n                delay",
        "lane = name if isinstance(how, Ordered) else None\n                delay",
    ),
    # what happens instead of a handler that has failed for good
    Mutation(
        "a handler that has failed for good is parked though something happens instead",
        "handler_binding.py",
        "if is_over and claim.handler in self.instead and",
        "if False and",
    ),
    Mutation(
        "a claim parks what had its last attempt though something happens instead",
        "deliveries/claim_statement.py",
        "(sa.and_(is_unfinished_last, ~may_end), LAST_ATTEMPT_UNFINISHED)",
        "(is_unfinished_last, LAST_ATTEMPT_UNFINISHED)",
    ),
    Mutation(
        "a handler runs again after it was given up",
        "attempt.py",
        "known = self.registry.instead if claim.given_up else self.registry.events",
        "known = self.registry.events",
    ),
    Mutation(
        "a claim forgets that the handler was given up",
        "deliveries/states.py",
        '"given_up": sa.case((begins, given_up), else_=row.given_up),',
        '"given_up": sa.case((begins, given_up)),',
    ),
    Mutation(
        "no handler is too late",
        "deliveries/claim_statement.py",
        "row.give_up_at <= now",
        "row.give_up_at <= now - 10**9",
    ),
    Mutation(
        "a handler is given up before its time is over",
        "deliveries/claim_statement.py",
        "row.give_up_at <= now",
        "row.give_up_at <= now + 10**9",
    ),
    Mutation(
        "what happens instead has no attempts of its own",
        "deliveries/states.py",
        '"attempts": 0, "unavailable_attempts": 0, "given_up": why}',
        '"unavailable_attempts": 0, "given_up": why}',
    ),
    Mutation(
        "what is given up is done without what happens instead",
        "attempt.py",
        "                answer = await handler.run(claim, None)\n",
        "                answer = None if claim.given_up else await handler.run(claim, None)\n",
    ),
    Mutation(
        "a replay runs a handler again that was given up",
        "extensions/operations/replay.py",
        "sa.and_(self._is_past(row.completed_at, now), WAS_HANDLED)",
        "sa.and_(self._is_past(row.completed_at, now), row.discarded_at.is_(None))",
        also=[
            Change(
                "deliveries/states.py",
                "deliveries.c.discarded_at.is_(None), deliveries.c.given_up.is_(None)\n",
                "deliveries.c.discarded_at.is_(None)\n",
            )
        ],
    ),
    # schedules
    Mutation(
        "a schedule is moved whatever its last time is",
        "deliveries/schedule_rows.py",
        'schedules.c.last_at == sa.bindparam("before", type_=sa.Double)',
        'sa.bindparam("before", type_=sa.Double) < 1e12',
    ),
    Mutation(
        "an event is stored though another process has moved the schedule",
        "deliveries/schedule_rows.py",
        "execute_dml(MOVE, moved) != 1",
        "execute_dml(MOVE, moved) > 1",
    ),
    Mutation(
        "a schedule is moved in a transaction before that of its event",
        "deliveries/schedule_rows.py",
        "                return False\n            lanes =",
        "                return False\n            await transaction.commit()\n"
        "        async with self._database.write_transaction() as transaction:\n"
        "            lanes =",
    ),
    Mutation(
        "the first time that was missed is stored, and the others after it",
        "schedules.py",
        "return Due(found[-1], len(found) - 1)",
        "return Due(found[0], 0)",
    ),
    Mutation(
        "missed times are not counted",
        "schedules.py",
        "return Due(found[-1], len(found) - 1)",
        "return Due(found[-1], 0)",
    ),
    Mutation(
        "a time is stored before it has come",
        "schedules.py",
        "at.timestamp() <= now, self.times_after(after))",
        "at.timestamp() <= now + 6e4, self.times_after(after))",
    ),
    # limits
    Mutation(
        "a commit claims what has a limit",
        "deliveries/store.py",
        "not_to = {*await self._pauses.read(transaction), *self.limits}",
        "not_to = {*await self._pauses.read(transaction)}",
    ),
    Mutation(
        "what runs is counted before the limit is locked",
        "deliveries/limit_uses.py",
        "        found = (await transaction.execute(self._lock,",
        "        use = await self.read(transaction, limit)\n"
        "        found = (await transaction.execute(self._lock,",
        also=[
            Change(
                "deliveries/limit_uses.py",
                "            return None\n        return await self.read(transaction, limit)",
                "            return None\n        return use",
            )
        ],
        database="postgresql",
    ),
    Mutation(
        "nobody locks a limit",
        "deliveries/limit_uses.py",
        "if not found and not await self.create(transaction, limit.name):\n            return None",
        "if not found:\n            await self.create(transaction, limit.name)",
        database="postgresql",
    ),
    Mutation(
        "a claim by a limit is not counted",
        "deliveries/store.py",
        "if use and claimed:",
        "if use and not claimed:",
    ),
    Mutation(
        "a claim by a limit leaves no mark",
        "deliveries/states.py",
        "        limit_name=limit_name,",
        "        limit_name=None,",
    ),
    Mutation(
        "a minute has one claim too many: its window has both of its ends",
        "limits.py",
        "(self.limit.per_minute or 0) + 1 - self.burst",
        "(self.limit.per_minute or 0) + 2 - self.burst",
    ),
    Mutation(
        "a handler that has lost its limit still takes one of its places",
        "deliveries/states.py",
        "        limit_name=limit_name,",
        "        limit_name=sa.func.coalesce(limit_name, row.limit_name),",
    ),
    Mutation(
        "an operator's number of a limit does not count",
        "deliveries/limit_uses.py",
        "row.at_once or limit.at_once, row.per_minute or limit.per_minute",
        "limit.at_once, limit.per_minute",
    ),
    Mutation(
        "what is both limited and delayed is due at once",
        "deliveries/new_events.py",
        '"owner": None, "seconds": delay})',
        '"owner": None, "seconds": 0.0 if first_attempts and handler in first_attempts.not_to'
        " else delay})",
    ),
    Mutation(
        "what has a limit is claimed as the next one of its lane",
        "deliveries/ordered_completion.py",
        "if found and is_inline and found[0].handler not in self._not_here:",
        "if found and is_inline:",
        expected="a worker claims by limits, and follows no lane; a test of the store finds it",
    ),
    # sessions of the application
    Mutation(
        "a session records events without deliveries",
        "deliveries/new_events.py",
        "        if rows:\n            connection.execute(self._insert_deliveries, rows)",
        "        if rows and first_attempts:\n"
        "            connection.execute(self._insert_deliveries, rows)",
    ),
    Mutation(
        "a session records events without those of ordered handlers",
        "outbox/caller_session.py",
        "new_events.store(connection, rows, new)",
        "new_events.store(connection, rows, [each for each in new if not each.lane])",
    ),
    Mutation(
        "once says of each message that it is new",
        "outbox/caller_session.py",
        "is_new = connection.execute(database.note, row).first() is not None",
        "is_new = bool(connection.execute(database.note, row))",
    ),
    Mutation(
        "a session stores the first of its events only",
        "outbox/caller_session.py",
        "        session.info[RECORDED] = connection\n",
        "        if session.info.get(RECORDED) is connection:\n            return\n"
        "        session.info[RECORDED] = connection\n",
        also=[
            Change(
                "outbox/caller_session.py",
                "        if rows:\n            with untranslated",
                "        if rows and session.info.get(RECORDED) is not connection:\n"
                "            with untranslated",
            )
        ],
    ),
    Mutation(
        "a session that is used again keeps all the messages that it has noted",
        "outbox/caller_session.py",
        "    noted[:] = [each for each in noted if transaction in each[1]]  "
        "# others are committed\n    noted.append(",
        "    noted.append(",
        also=[
            Change(
                "outbox/caller_session.py",
                "    noted[:] = [each for each in noted if transaction in each[1]]"
                "  # others are committed\n    return next(",
                "    return next(",
            )
        ],
    ),
    Mutation(
        "what is recorded in a savepoint stays when that is rolled back",
        "outbox/caller_session.py",
        "        session.info[RECORDED] = connection\n",
        "        session.info[RECORDED] = connection\n"
        "        if session.in_nested_transaction():\n"
        "            rows, new = self._written([(each, subject) for each in events], None)\n"
        "            again = lambda *_: database.new_events.store(connection, rows, new)\n"
        "            event.listen(session, 'after_soft_rollback', again, once=True)\n",
    ),
    Mutation(
        "what is recorded in a handler is due before its time",
        "deliveries/new_events.py",
        'later = self._due + sa.bindparam("seconds", type_=sa.Double)',
        'later = self._due + int(not in_sessions) * sa.bindparam("seconds", type_=sa.Double)',
    ),
    Mutation(
        "a handler that exits ends its process",
        "handler_containment.py",
        "raise HandlerInterrupted(handler, first) from error",
        "raise first",
    ),
    # messages of brokers
    Mutation(
        "a message is acknowledged before its command is executed",
        "extensions/brokers/message_handler.py",
        "        taken = await self._take_effect(",
        "        await _acknowledge(message.ack)\n        taken = await self._take_effect(",
    ),
    Mutation(
        "a message of a subscription that comes again takes effect again",
        "extensions/brokers/subscriptions.py",
        "            id=message_id,\n            fingerprint",
        "            id=None,\n            fingerprint",
    ),
    Mutation(
        "another message under an id that was used is acknowledged in silence",
        "extensions/brokers/message_handler.py",
        "if first.fingerprint not in (None, origin.fingerprint):",
        "if False:",
    ),
    Mutation(
        "what nobody can translate is tried for ever",
        "extensions/brokers/message_handler.py",
        "if is_permanent(error):",
        "if False:",
    ),
    Mutation(
        "a message that meets an outage is a dead letter",
        "extensions/brokers/message_handler.py",
        'if kind_of(error) != "defect":',
        "if False:",
    ),
    Mutation(
        "a consumer does not hear of a pause of its subscription",
        "extensions/brokers/paused_subscriptions.py",
        "return source is not None and (self._paused is None or source in self._paused)",
        "return False",
    ),
    Mutation(
        "a consumer that has lost its connection makes no other one",
        "extensions/brokers/command_consumer.py",
        "            await pause(self.first_pause, failures, self.stop)\n"
        "            failures += 1\n",
        "            return\n",
    ),
    Mutation(
        "what a consumer cannot dispatch stays claimed",
        "extensions/bounded_dispatch.py",
        "            await self._bus.release(committed.claims)\n",
        "",
    ),
    Mutation(
        "the sender of a dead letter is told that it was accepted",
        "extensions/brokers/message_handler.py",
        "self.answers.send(broker, asked, taken.refusal)",
        "self.answers.send(broker, asked, None)",
    ),
    Mutation(
        "a sender is told nothing",
        "extensions/brokers/message_handler.py",
        "if asked is not None and not await self.answers.send(broker, asked, taken.refusal):",
        "if False:",
    ),
    Mutation(
        "an erasure leaves what ids of messages quote",
        "extensions/operations/erasing_events.py",
        "for column in (*IDS, *OF_DECISIONS):",
        "for column in OF_DECISIONS:",
    ),
    Mutation(
        "an erasure leaves what decisions quote",
        "extensions/operations/erasing_events.py",
        "for column in (*IDS, *OF_DECISIONS):",
        "for column in IDS:",
    ),
    # hundreds at once
    Mutation(
        "of hundreds that are given back together, the first are given back",
        "deliveries/ends.py",
        "known |= {each: fates[each] for each in known.keys() & batch}",
        'known |= {each: fates.get(each, "hit") for each in known}',
    ),
    Mutation(
        "of hundreds of lanes, none is locked",
        "extensions/postgresql/lane_locks.py",
        "WHEN are_many THEN pg_advisory_xact_lock({_PART}) IS NOT NULL",
        "WHEN are_many THEN true",
        database="postgresql",
    ),
    # lanes that nobody repairs
    Mutation(
        "a worker mends no lane in which two could begin",
        "deliveries/deferred_unblocking.py",
        'await transaction.execute_dml(not_first.update(IN_THESE_LANES), {"lanes": some})',
        "pass",
        expected="two can begin after a change in SQL, or if a process of 0.2 has completed again "
        "what it had completed; neither is simulated",
    ),
    Mutation(
        "a worker unblocks no lane that stands still",
        "deliveries/deferred_unblocking.py",
        "    for lane in await _try_to_unblock(database, stuck):",
        "    for lane in stuck[:0]:",
        expected="where there is one writer, no lane is passed by: whoever ends a delivery lets "
        "its lane go on in the same transaction",
    ),
    Mutation(
        "an ordered replay ends at an event that nobody can read",
        "extensions/operations/ordered_replay.py",
        "except InvalidMessage as error:",
        "except ZeroDivisionError as error:",
        expected="all events of the simulated shop can be read",
    ),
    # PostgreSQL: what locks keep in order
    Mutation(
        "events are stored in lanes that are not locked",
        "deliveries/unit_of_work_scope.py",
        "locked = await lock_lanes(transaction, delivery_store.database, lanes, if_free=own)",
        "locked = await lock_lanes(transaction, delivery_store.database, [], if_free=own)",
        database="postgresql",
    ),
    Mutation(
        "who completes takes its lane for free",
        "deliveries/ordered_completion.py",
        "        if not is_free:\n",
        "        if False:\n",
        database="postgresql",
    ),
    Mutation(
        "who completes waits for its lane",
        "deliveries/ordered_completion.py",
        "await lock_lanes(transaction, self._database, (), if_free=lane)",
        "await lock_lanes(transaction, self._database, lane, if_free=lane)",
        database="postgresql",
    ),
    Mutation(
        "a lane that was not free when a delivery was completed stands still",
        "deliveries/ordered_completion.py",
        'transaction.afterwards(partial(unblock_soon, self._database, ended.lane or ""))',
        "pass",
        database="postgresql",
    ),
    Mutation(
        "a lock on a lane is shared",
        "extensions/postgresql/lane_locks.py",
        "AND pg_try_advisory_xact_lock({_LANE})",
        "AND pg_try_advisory_xact_lock_shared({_LANE})",
        database="postgresql",
    ),
    Mutation(
        "what a session records in lanes gets no places with the commit",
        "outbox/lanes_at_commit.py",
        'event.listen(connection, "commit", take_places)',
        "pass",
        database="postgresql",
    ),
    Mutation(
        "what a session records in lanes gets its places at once",
        "outbox/lanes_at_commit.py",
        "waiting.update(lanes)\n",
        "waiting.update(lanes)\n    take_places(connection)\n",
        database="postgresql",
    ),
    Mutation(
        "a session takes places in lanes that are not locked",
        "outbox/lanes_at_commit.py",
        '    connection.execute(lock, {"keys": lock_keys(lanes)})\n',
        "",
        database="postgresql",
    ),
    Mutation(
        "a session that sees an old snapshot takes its places by that",
        "deliveries/lanes.py",
        "blocked = sa.or_(is_stale, new.c.number > 1, is_behind)",
        "blocked = sa.or_(new.c.number > 1, is_behind)",
        database="postgresql",
    ),
    Mutation(
        "handlers work at REPEATABLE READ",
        "extensions/postgresql/connections.py",
        '"default_transaction_isolation": "read committed"',
        '"default_transaction_isolation": "repeatable read"',
        database="postgresql",
    ),
    Mutation(
        "an operator decides about deliveries that are not locked",
        "extensions/operations/decisions.py",
        "    await transaction.execute(in_order(*which))\n    return places",
        "    return places",
        database="postgresql",
    ),
    Mutation(
        "who resumes a handler does not wait for what is stored as paused",
        "deliveries/pauses.py",
        "sa.exists(this.with_for_update(read=True, key_share=True))",
        "sa.exists(this)",
        also=[  # who decides about a delivery locks the pauses first, and that alone would do
            Change(
                "extensions/operations/decisions.py",
                "await transaction.execute(_PAUSES)",
                "await transaction.execute(PAUSED_HANDLERS)",
            )
        ],
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: who resumes a handler does not wait for what is stored as paused",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "pause.handler = subscriber FOR KEY SHARE",
        "pause.handler = subscriber",
        database="postgresql",
    ),
    Mutation(
        "last writes wait for what somebody has locked",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "FOR UPDATE OF delivery SKIP LOCKED  -- what somebody has locked",
        "FOR UPDATE OF delivery  -- what somebody has locked",
        database="postgresql",
    ),
    Mutation(
        "what somebody has locked is taken for lost",
        "deliveries/ends.py",
        'fates |= dict.fromkeys(locked, "locked")',
        "pass",
        also=[
            Change("deliveries/ends.py", "if has_locks and await _still_valid(", "if False and (")
        ],
        database="postgresql",
    ),
    Mutation(
        "a worker forgets a last write about what somebody has locked",
        "process/worker.py",
        'is not stored yet: %s", error)\n                continue\n',
        'is not stored yet: %s", error)\n',
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: a claim leaves the token as it is",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "SET token = delivery.token + 1,",
        "SET token = delivery.token,",
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: a claim parks what had its last attempt though something happens instead",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "is_last.unfinished AND NOT may.give_up THEN",
        "is_last.unfinished THEN",
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: no handler is too late",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "delivery.give_up_at <= :now",
        "delivery.give_up_at <= :now - 1e9",
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: a handler is given up before its time is over",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "delivery.give_up_at <= :now",
        "delivery.give_up_at <= :now + 1e9",
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: a claim forgets that the handler was given up",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        "coalesce(due.given_up, delivery.given_up) ELSE",
        "due.given_up ELSE",
        database="postgresql",
    ),
    Mutation(
        "PostgreSQL: a batch completes deliveries whatever their tokens are",
        "extensions/postgresql/asyncpg_delivery_store.sql",
        " AND delivery.token = claim.token\n",
        "\n",
        database="postgresql",
    ),
)

if __name__ == "__main__":
    main(MUTATIONS)
