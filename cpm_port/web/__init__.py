"""`cpm-port serve`: the release's demo in a browser. A page to play with, and the small server behind it.

Data flows one way, and every file calls only those below it in this list:

- `server.py`: an address, a socket, a server that runs until it is interrupted;
- `app.py`: which request gives which answer;
- `answers.py`: what was found, as the page reads it and as files to take away;
- `looking.py`: a picture and a wish in, people and their belief maps out; on the worker's thread, with torch;
- `offers.py`: the models that can be chosen, loaded when they are first asked for;
- `uploads.py`: pictures in, bounded before they are believed;
- `jobs.py`: one queue, one thread, a bound and a time limit; `memory.py`: what is kept, for how long, up to how much;
- `guard.py`: who may ask, and what a browser may do with the answer; `limits.py`: every bound, in one place.

The page itself is `page/`: HTML, CSS and JavaScript of our own, as they are, without a build step. It asks no other
host for anything.

What a client sends never reaches a path: files are chosen from fixed tables, pictures and results by random names in
memory. Needs the extra `web` (Starlette and uvicorn). Exports nothing of its own.
"""
