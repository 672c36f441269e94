"""The page: ``build_app(scorer).launch(**launch_options())`` in `page`, one file a tab."""
