"""Tables as two sites export them, each in its own way: one run, one hash, and a model that predicts from its file alone."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys

import harness

EXAMPLES = harness.ROOT / "deploy" / "examples"
INTERPRETER = os.environ.get("TRIBUTARY_PYTHON") or "python3"
ROUNDS = 150


def patients(seed, count=120):
    """Who is old and has bad kidneys is readmitted, and stays longer."""
    draw = random.Random(seed)
    for number in range(count):
        age, creatinine = draw.uniform(30, 90), draw.uniform(0.5, 2.5)
        yield {"age": age, "creatinine": creatinine, "sex": draw.choice(["female", "male"]),
               "ward": draw.choice(["medical", "surgical", "day clinic"]), "readmitted": int(age / 60 + creatinine > 2.5),
               "days": age / 10 + 2 * creatinine, "gap": number % 11 == 0}


def lyon(path, rows):
    """Commas and points, the run's names, another order."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["patient", "sex", "age", "ward", "creatinine", "days", "readmitted"])
        for number, row in enumerate(rows):
            table.writerow([f"P{number}", row["sex"], f"{row['age']:.1f}", row["ward"], "" if row["gap"] else f"{row['creatinine']:.2f}",
                            f"{row['days']:.1f}", row["readmitted"]])


def berlin(path, rows):
    """Semicolons and decimal commas, names of its own, quoted line breaks, a code for what is missing, in windows-1252."""
    lines = ["Fallnr;Alter;Kreatinin;Geschlecht;Station;Tage;wiederaufgenommen;Größe;Bemerkung"]
    for number, row in enumerate(rows):
        age, creatinine, days = (f"{row[name]:.2f}".replace(".", ",") for name in ("age", "creatinine", "days"))
        lines.append(";".join([str(90_000 + number), age, "k.A." if row["gap"] else creatinine, row["sex"], row["ward"], days,
                               "ja" if row["readmitted"] else "nein", "1,80", "\"mit\r\nUmbruch; und Semikolon\""]))
    path.write_bytes("\r\n".join(lines).encode("windows-1252"))


class Tables(harness.FederationTest):
    def federate(self):
        parties = self.make("berlin", "lyon")
        for site, write in (("berlin", berlin), ("lyon", lyon)):
            folder = parties.directory / "data" / site
            (folder / "text.txt").unlink()
            write(folder / "export.csv", patients(seed=site))
        parties.start_coordinator()
        parties.write_operator_config()
        own = {"encoding": "windows-1252", "missing": ["k.A."], "rename": ["Geschlecht=sex", "Station=ward"]}
        parties.write_worker_config("berlin", parties.directory / "data" / "berlin", csv=own)
        parties.write_worker_config("lyon", parties.directory / "data" / "lyon")
        return parties

    def worker(self, *arguments, code=0):
        done = subprocess.run([harness.BINARIES / "tributary-worker", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                              check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def run_file(self, parties, example):
        """The example with fewer rounds."""
        path = parties.directory / example
        text = (EXAMPLES / example).read_text(encoding="utf-8")
        path.write_text(re.sub(r"(?m)^rounds: \d+", f"rounds: {ROUNDS}", text), encoding="utf-8")
        return path

    def finish(self, parties, path):
        run = parties.submit(path)["spec"]["name"]
        status = parties.wait_for_end(run, timeout=120)
        self.assertEqual((status["state"], int(status["round"])), ("finished", ROUNDS), status.get("reason"))
        self.assertEqual({site.get("state_hash") for site in status["sites"]}, {status["state_hash"]})
        model = parties.directory / f"{run}.safetensors"
        parties.operator("export", run, "--output", model)
        return model

    def test_exports_of_two_kinds_train_one_model_which_predicts_alone(self):
        parties = self.federate()
        clinic = self.run_file(parties, "run-clinic.yaml")
        seen = {site: json.loads(self.worker("data", "check", "--config", parties.directory / f"worker-{site}.yaml", "--run", clinic,
                                             "--format", "json")) for site in parties.sites}
        self.assertEqual(seen["berlin"]["inputs"], seen["lyon"]["inputs"])
        self.assertEqual(seen["berlin"]["files"][0]["columns_left_out"], ["Fallnr", "Tage", "Größe", "Bemerkung"])
        self.assertEqual((seen["berlin"]["files"][0]["decimal"], seen["lyon"]["files"][0]["decimal"]), ("comma", "point"))
        parties.write_worker_config("other", parties.directory / "data" / "lyon", csv={"rename": ["sex=age"]})
        problems = json.loads(self.worker("data", "check", "--config", parties.directory / "worker-other.yaml", "--run", clinic,
                                          "--format", "json", code=harness.EXIT_DATA))["problems"]
        self.assertRegex(problems[0], "export.csv:1: columns 'sex' and 'age' are both 'age' of the run")
        for site in parties.sites:
            parties.start_worker(site)
        model = self.finish(parties, clinic)

        rows = list(patients("elsewhere"))
        new = parties.directory / "new.csv"
        lyon(new, rows)
        predicted = list(csv.DictReader(io.StringIO(self.worker("predict", "--model", model, "--data", new))))
        right = sum(line["prediction"] == ("yes" if row["readmitted"] else "no") for line, row in zip(predicted, rows))
        self.assertGreater(right, 0.8 * len(rows))
        self.compare_with_numpy(parties, model, new, predicted)

        stay = self.finish(parties, self.run_file(parties, "run-regression.yaml"))
        lines = list(csv.DictReader(io.StringIO(self.worker("predict", "--model", stay, "--data", new, "--config",
                                                           parties.directory / "worker-lyon.yaml"))))
        errors = [(float(line["prediction"]) - row["days"])**2 for line, row in zip(lines, rows) if not row["gap"]]
        self.assertLess(sum(errors) / len(errors), 1.5, "days squared; of the mean alone it would be more than 4")

    def compare_with_numpy(self, parties, model, new, predicted):
        """What docs/how-to/use_the_model.md shows gives the same."""
        if subprocess.run([INTERPRETER, "-c", "import numpy"], capture_output=True, check=False).returncode != 0:
            print(f"not compared with numpy, which {INTERPRETER} has not", file=sys.stderr)
            return
        page = (harness.ROOT / "docs" / "how-to" / "use_the_model.md").read_text(encoding="utf-8")
        program = parties.directory / "predict.py"
        program.write_text(re.search(r"## In numpy alone\n```python\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
        done = subprocess.run([INTERPRETER, program, model, new], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), len(predicted))
        for line, ours in zip(lines, predicted):
            prediction, *probabilities = line.split(",")
            self.assertEqual(prediction, ours["prediction"])
            for theirs, name in zip(probabilities, ("no", "yes")):
                self.assertAlmostEqual(float(theirs), float(ours[name]), places=4)


if __name__ == "__main__":
    harness.main()
