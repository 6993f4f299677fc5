"""Threads that look at once: the same answers as one after the other, and one cache between them."""


def test_two_threads_that_ask(project):
    good = 'from holotype import register_model\n@register_model("good")\nclass Good: pass\n'
    project.write({"src/model/__init__.py": "", "src/model/good.py": good})
    # In a process of its own: a connection used by two threads ends it.
    code = """
    import collections, sys, threading, time, holotype
    sys.setswitchinterval(1e-5)
    holotype.list_models()
    errors, rounds, stop = collections.Counter(), collections.Counter(), time.monotonic() + 2
    def ask(what):
        while time.monotonic() < stop:
            try:
                what()
                rounds[threading.current_thread().name] += 1
            except BaseException as error:
                errors[repr(error)[:200]] += 1
    asked = [lambda: holotype.get_model_info("proteins/v2"),
             lambda: holotype.get_model_infos(["proteins/v1", "proteins/v2", "good"])]
    threads = [threading.Thread(target=ask, args=(what,), name=str(at)) for at, what in enumerate(asked)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    result = [dict(errors), holotype.registry.cache_problem, sorted(rounds)]
    """
    assert project.run(code) == [{}, None, ["0", "1"]]


def test_threads_that_begin_together(project):
    good = 'from holotype import register_model\n@register_model("good")\nclass Good: pass\n'
    project.write({"src/model/__init__.py": "", "src/model/good.py": good})
    code = """
    import sys, threading, holotype
    sys.setswitchinterval(1e-5)
    begin, found = threading.Barrier(4), []
    def look():
        begin.wait()
        try:
            found.append([holotype.get_model_info("good").class_name, holotype.list_models(zoo="src.model")])
        except BaseException as error:
            found.append(repr(error))
    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    result = [found, holotype.registry.cache_problem]
    """
    assert project.run(code) == [[["Good", ["good"]]] * 4, None]
