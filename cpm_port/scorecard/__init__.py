"""The default model's record: every number stated about it, measured again and written down by one command.

    python -m cpm_port.scorecard --lspet DIR --lsp-labels FILE --lsp-images DIR...

- `measuring.py`: net and people in, the record's sections out;
- `shapes.py`: the shapes it was chosen from, and how long a pass takes;
- `card.py`: the record as the numbers in the model card;
- `__main__.py`: all of it, and the pictures.

What no command can measure stays as it was written by hand: the record's `title`, `training`, `limits`, the `command`
that describes the net and what was tried as `candidates`, and the card's text around the numbers.
"""
