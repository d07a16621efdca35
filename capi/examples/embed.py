#!/usr/bin/env python3
"""okapi in Python, with nothing but ctypes: loads a model, generates from a prompt, evaluates line retrieval.

    embed.py MODEL ROPE LENGTH [LIBRARY]      e.g. embed.py models/savanna-5m yarn:scale=4 1024 lib/libokapi.so
"""

import ctypes
import json
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p


class SessionOptions(ctypes.Structure):
    """okapi_session_options. Zero is the default of every field, so that only what matters is set."""

    _fields_ = [
        ("struct_size", c_uint32), ("raw_keys", c_uint8), ("deterministic", c_uint8), ("reserved", c_uint8 * 2),
        ("rope", c_void_p), ("rope_length", c_int64), ("context_length", c_int64), ("prefill_chunk", c_int64),
        ("positions", c_void_p), ("n_positions", c_uint64), ("seed", c_uint64)]


class GenerateOptions(ctypes.Structure):
    """okapi_generate_options."""

    _fields_ = [
        ("struct_size", c_uint32), ("temperature", c_float), ("max_tokens", c_int64), ("min_tokens", c_int64),
        ("top_k", c_int64), ("top_p", c_float), ("ignore_eos", c_uint8), ("reserved", c_uint8 * 3),
        ("seed", c_uint64), ("stop_ids", POINTER(c_int32)), ("n_stop_ids", c_uint64),
        ("stop_texts", POINTER(c_char_p)), ("n_stop_texts", c_uint64), ("on_token", c_void_p),
        ("on_token_user_data", c_void_p), ("cancel", c_void_p)]


class EvaluationOptions(ctypes.Structure):
    """okapi_evaluation_options."""

    _fields_ = [
        ("struct_size", c_uint32), ("batch_size", c_int32), ("rope", c_void_p), ("rope_length", c_int64),
        ("results", c_void_p), ("max_samples", c_int64)]


class OkapiError(Exception):
    pass


class Okapi:
    """Calls okapi_NAME: every function that can fail returns a status and takes the error last."""

    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        self.library.okapi_error_message.restype = c_char_p
        self.library.okapi_version_string.restype = c_char_p

    def call(self, name, *arguments):
        error = c_void_p()
        if getattr(self.library, "okapi_" + name)(*arguments, byref(error)) != 0:
            message = self.library.okapi_error_message(error).decode()
            self.library.okapi_error_unref(error)
            raise OkapiError(message)

    def make(self, name, *arguments):
        """A call that gives a new object in its last parameter before the error."""
        made = c_void_p()
        self.call(name, *arguments, byref(made))
        return made

    def text(self, name, subject):
        """A call that writes text: asked without a buffer, it says how much it needs."""
        needed = c_size_t()
        self.call(name, subject, None, c_size_t(0), byref(needed))
        buffer = ctypes.create_string_buffer(needed.value)
        self.call(name, subject, buffer, needed, None)
        return buffer.value.decode()

    def unref(self, **objects):
        for noun, one in objects.items():
            getattr(self.library, f"okapi_{noun}_unref")(one)


def generate(okapi, model, rope, tokenizer, prompt):
    ids = (c_int32 * 256)()
    n_ids = c_size_t()
    okapi.call("tokenizer_encode", tokenizer, prompt, c_size_t(len(prompt)), c_uint8(1), ids, c_size_t(256),
               byref(n_ids))

    options = SessionOptions(struct_size=ctypes.sizeof(SessionOptions), rope=rope)
    session = okapi.make("session_create", model, byref(options))
    stop = (c_char_p * 1)(b">")
    how = GenerateOptions(struct_size=ctypes.sizeof(GenerateOptions), max_tokens=16, stop_texts=stop, n_stop_texts=1)
    made = (c_int32 * 16)()
    n_made = c_size_t()
    okapi.call("session_generate", session, ids, c_int64(n_ids.value), byref(how), made, c_size_t(16),
               byref(n_made), None)
    okapi.unref(session=session)

    answer = ctypes.create_string_buffer(256)
    okapi.call("tokenizer_decode", tokenizer, made, n_made, answer, c_size_t(256), None)
    return answer.value.decode()


def evaluate(okapi, runtime, model, rope, tokenizer, length):
    parameters = json.dumps({"style": "compact", "length": length, "n_samples": 8}).encode()
    task = okapi.make("task_open", runtime, b"lines", parameters, c_uint64(1), tokenizer, None)
    options = EvaluationOptions(struct_size=ctypes.sizeof(EvaluationOptions), rope=rope)
    evaluation = okapi.make("evaluation_create", task, model, byref(options))
    okapi.call("evaluation_run", evaluation, None)
    report = json.loads(okapi.text("evaluation_report", evaluation))
    okapi.unref(evaluation=evaluation, task=task)
    return report


def main(model_path, spec, length, library="libokapi.so"):
    okapi = Okapi(library)
    print("okapi", okapi.library.okapi_version_string().decode())
    runtime = okapi.make("runtime_create", None)
    model = okapi.make("model_open", runtime, model_path.encode(), None)
    tokenizer = okapi.make("model_get_tokenizer", model)
    rope = okapi.make("rope_create", model, spec.encode())

    prompt = (b"line keen-bucket: REGISTER_CONTENT is <33185>\n"
              b"line rough-pillow: REGISTER_CONTENT is <13724>\n"
              b"What is the REGISTER_CONTENT in line rough-pillow? <")
    print("answer: <" + generate(okapi, model, rope, tokenizer, prompt))

    report = evaluate(okapi, runtime, model, rope, tokenizer, int(length))
    for metric in report["metrics"]:
        print(f"{metric['name']}: {metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}] of {metric['n']}")
    okapi.unref(rope=rope, tokenizer=tokenizer, model=model, runtime=runtime)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
