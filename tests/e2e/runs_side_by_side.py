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
        parties.submit(self.spec(parties, "first", ["alpha", "beta"], rounds=200))
        parties.wait_for_round("first", 3, timeout=60)
        parties.operator("run", "pause", "first", "--reason", "new racks")
        parties.submit(self.spec(parties, "second", ["gamma", "delta"], rounds=100))
        parties.submit(self.spec(parties, "third", ["beta", "gamma"], rounds=5))
        listed = parties.tool("--config", parties.directory / "operator.yaml", "run", "list").stdout
        for name, sites, reason in (("first", "alpha, beta", "paused by .*: new racks"), ("second", "gamma, delta", ""),
                                    ("third", "beta, gamma", "queued behind run first-")):
            self.assertRegex(listed, rf"(?m)^{name} +{name}-[0-9a-f]+ .* {sites} .*{reason}")
        self.assertEqual(parties.processes["coordinator"].kill(), -9)
        parties.start_coordinator()
        self.assert_agreed(parties.wait_for_end("second", timeout=120), ["delta", "gamma"], rounds=100)
        self.assertEqual(parties.status("first")["state"], "paused")
        self.assertIn("queued behind run first-", parties.status("third")["reason"])
        parties.operator("run", "resume", "first")
        self.assert_agreed(parties.wait_for_end("first", timeout=120), ["alpha", "beta"], rounds=200)
        self.assert_agreed(parties.wait_for_end("third", timeout=120), ["beta", "gamma"], rounds=5)


if __name__ == "__main__":
    harness.main()
