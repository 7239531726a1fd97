"""Two runs at once on sites of their own: one is paused, the other is not held up, and a coordinator that is killed goes on with both."""

import harness


class RunsSideBySide(harness.FederationTest):
    def spec(self, parties, name, sites, **overrides):
        participation = {"sites": sites, "min_workers": len(sites)}
        return parties.write_yaml(f"{name}.yaml", harness.run_spec(name=name, participation=participation, **overrides))

    def assert_agreed(self, status, sites, rounds):
        self.assertEqual((status["state"], int(status["round"])), ("finished", rounds), status.get("reason"))
        hashes = {site["site"]: site.get("state_hash") for site in status["sites"]}
        self.assertEqual(hashes, dict.fromkeys(sites, status["state_hash"]))

    def test_a_paused_run_holds_up_its_own_sites_alone_also_over_a_kill(self):
        parties = self.make("alpha", "beta", "gamma", "delta")
        self.start(parties)
        parties.submit(self.spec(parties, "first", ["alpha", "beta"], rounds=60))
        parties.submit(self.spec(parties, "second", ["gamma", "delta"], rounds=40))
        parties.submit(self.spec(parties, "third", ["beta", "gamma"], rounds=5))
        parties.wait_for_round("first", 3, timeout=60)
        parties.wait_for_round("second", 3, timeout=60)
        parties.operator("run", "pause", "first", "--reason", "new racks")
        self.assertEqual(parties.processes["coordinator"].kill(), -9)
        parties.start_coordinator()
        self.assert_agreed(parties.wait_for_end("second", timeout=120), ["delta", "gamma"], rounds=40)
        self.assertEqual(parties.status("first")["state"], "paused")
        self.assertIn("queued behind run first-", parties.status("third")["reason"])
        parties.operator("run", "resume", "first")
        self.assert_agreed(parties.wait_for_end("first", timeout=120), ["alpha", "beta"], rounds=60)
        self.assert_agreed(parties.wait_for_end("third", timeout=120), ["beta", "gamma"], rounds=5)


if __name__ == "__main__":
    harness.main()
