"""okapi run and okapi repl."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

from command import CommandTest, MODEL, OKAPI, main, run


class RunTest(CommandTest):
    def script(self, text):
        return self.path("script.lua", text)

    def test_a_script_gets_its_arguments(self):
        script = self.script("print(arg[0]:match('[^/]+$'), #arg, arg[1], arg[2], ...)")
        self.assertEqual(self.succeeds("run", "--threads", 1, script, "--flag", "b"),
                         "script.lua\t2\t--flag\tb\t--flag\tb\n")

    def test_options_before_the_script_are_the_runtimes(self):
        script = self.script("print(require('okapi').default_runtime():describe().n_threads)")
        self.assertEqual(self.succeeds("run", "--threads", 1, script), "1\n")

    def test_the_module_is_built_in(self):
        script = self.script("package.cpath = ''; package.path = ''; print((require 'okapi').version())")
        self.assertRegex(self.succeeds("run", script), r"^\d+\.\d+\.\d+\t\d+\t\d+\n$")

    def test_an_error_has_a_traceback_and_exits_with_1(self):
        script = self.script("local function inner()\n  error('broken')\nend\ninner()")
        done = self.fails(1, "script.lua:2: broken", "run", script)
        self.assertIn("stack traceback", done.stderr)
        self.assertIn("in local 'inner'", done.stderr)

    def test_errors_of_okapi_read_as_text(self):
        script = self.script("require('okapi').model('no/such/model')")
        self.fails(1, "no/such/model", "run", script)

    def test_a_syntax_error_is_named(self):
        self.fails(1, "script.lua:1:", "run", self.script("x = = 1"))

    def test_a_script_chooses_its_own_exit_code(self):
        self.assertEqual(run("run", self.script("os.exit(7, true)")).returncode, 7)

    def test_a_script_may_come_from_standard_input(self):
        self.assertEqual(self.succeeds("run", "-", "x", stdin="print(arg[1])"), "x\n")

    def test_arguments_of_okapi_are_checked(self):
        self.fails(2, "SCRIPT", "run")
        self.fails(2, "--bogus", "run", "--bogus", "x.lua")

    def interrupted(self, text):
        """Exit code and standard error of a script that was interrupted once it had said ready."""
        command = [OKAPI, "run", self.script(text), MODEL]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=60)
            finally:
                process.kill()
        return process.returncode, stderr

    def test_ctrl_c_stops_lua(self):
        code, stderr = self.interrupted("print 'ready' io.stdout:flush() while true do end")
        self.assertEqual((code, stderr), (130, "okapi: interrupted\n"))

    def test_ctrl_c_stops_a_long_call(self):
        code, stderr = self.interrupted("""
            local okapi = require "okapi"
            local model = okapi.model(arg[1])
            local task = okapi.task("lines", {style = "compact", length = 256, n_samples = 5000})
            local has_said = false
            okapi.evaluate { task = task, model = model, progress = function(p)
              if p.done >= 1 and not has_said then print 'ready' io.stdout:flush() has_said = true end
            end }""")
        self.assertEqual((code, stderr), (130, "okapi: interrupted\n"))

    def test_ctrl_c_stops_training_after_a_whole_step_and_saves(self):
        run_folder = self.path("run")
        code, stderr = self.interrupted(f"""
            require("okapi").train {{
              model = arg[1], steps = 10000, optimizer = {{learning_rate = 1e-4}}, batch = {{sequences = 1}},
              lora = {{rank = 2}}, checkpoint = {{folder = "{run_folder}"}},
              data = {{dataset = "lines", params = {{training = true, style = "compact", length = 96}}, length = 96}},
              on_step = function(step) if step.step == 1 then print 'ready' io.stdout:flush() end end }}""")
        self.assertEqual((code, stderr), (130, "okapi: interrupted\n"))
        self.assertRegex(" ".join(os.listdir(run_folder)), r"step-\d{8}")

    def test_ctrl_c_passes_through_pcall(self):
        code, _ = self.interrupted("""
            local okapi = require "okapi"
            local model = okapi.model(arg[1])
            print 'ready' io.stdout:flush()
            while true do pcall(function() model:session():generate("The", {max_tokens = 200}) end) end""")
        self.assertEqual(code, 130)


class ReplTest(CommandTest):
    def test_expressions_are_printed_and_statements_are_not(self):
        self.assertEqual(self.succeeds("repl", stdin="1 + 1, 'x'\ny = 3\ny * 2\n"), "2\tx\n6\n")

    def test_a_statement_may_take_several_lines(self):
        self.assertEqual(self.succeeds("repl", stdin="for i = 1, 2 do\nprint(i)\nend\n"), "1\n2\n")

    def test_a_table_shows_what_is_in_it(self):
        self.assertEqual(self.succeeds("repl", stdin="{ a = { 1, 2 } }, 3\n"),
                         '{\n  "a": [\n    1,\n    2\n  ]\n}\t3\n')
        # What JSON has no form for, and what has a text of its own, are as `print` shows them.
        shown = self.succeeds("repl", stdin="{ print }\nsetmetatable({}, { __tostring = function() return 'me' end })\n")
        self.assertRegex(shown, r"^table: 0x[0-9a-f]+\nme\n$")

    def test_the_module_is_at_hand(self):
        self.assertEqual(self.succeeds("repl", stdin="type(okapi.model)\n"), "function\n")

    def test_ctrl_c_at_the_prompt_drops_the_line_and_nothing_that_follows(self):
        keyboard, terminal = pty.openpty()
        with subprocess.Popen([OKAPI, "repl"], stdin=terminal, stdout=subprocess.PIPE, bufsize=0) as process:
            def shown(prompt):
                """What is printed before the prompt; then waits until the repl does."""
                text = b""
                while not text.endswith(prompt):
                    text += process.stdout.read(1) or self.fail(f"it ended after {text}")
                while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
                    self.assertIsNone(process.poll())
                    time.sleep(0.01)
                return text[:-len(prompt)]

            def typed(line, prompt=b"\n> "):
                os.write(keyboard, line.encode() + b"\n")
                return shown(prompt)

            def interrupted():
                process.send_signal(signal.SIGINT)
                return shown(b"\n> ")

            try:
                shown(b"> ")
                typed(f"model = okapi.model('{MODEL}'); print 'loaded'")
                interrupted()
                interrupted()
                typed("if true then", prompt=b">> ")
                self.assertEqual(interrupted(), b"")
                self.assertEqual(typed("#model:tokenizer():encode('The', {bos = false}) > 0"), b"true")
                self.assertEqual(typed("model:session():generate('The', {max_tokens = 2}) ~= nil"), b"true")
                os.write(keyboard, b"\x04")
                self.assertEqual(process.wait(timeout=60), 0)
            finally:
                process.kill()
                os.close(keyboard)
                os.close(terminal)

    def test_an_error_does_not_end_it_but_shows_in_the_exit_code(self):
        done = self.fails(1, "oh no", "repl", stdin="error('oh no')\n1 + 1\n")
        self.assertEqual(done.stdout, "2\n")


if __name__ == "__main__":
    main()
