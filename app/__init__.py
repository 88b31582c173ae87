"""The fronts: the Streamlit app and the command line."""
